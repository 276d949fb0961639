"""The ratchet over Triton versions: counts of machine code, their records, and what counts as damage."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from tunefork.base.errors import BadInput
from tunefork.cli.kernels.ratchet import ratchet
from tunefork.kernels.ratchet import record
from tunefork.kernels.ratchet.counts import Counts, counted, sass
from tunefork.kernels.ratchet.record import Damage, Record

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="NOT TESTED: needs triton")
PLAIN = Counts({"16": 20}, 10, 10, 10, 10, 24, 10, 100, 0)
SASS = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;
        /*0020*/                   LDG.E.64 R8, desc[UR4][R2.64] ;
        /*0030*/               @P1 LDG.E.U16 R9, desc[UR4][R2.64] ;
        /*0040*/                   LDG.E R10, desc[UR4][R2.64] ;
        /*0050*/                   LDGSTS.E.BYPASS.LTC128B.128 [R80+0x10], desc[UR4][R80.64] ;
        /*0060*/                   STS.128 [R80], R4 ;
        /*0070*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0080*/                   LDSM.16.M88.4 R4, [R80] ;
        /*0090*/                   HMMA.16816.F32.BF16 R4, R4, R8, R4 ;
        /*00a0*/                   SHFL.BFLY PT, R5, R4, 0x1, 0x1f ;
        /*00b0*/                   STL [R1], R5 ;
"""


def of(triton: str, **rows: Counts | str) -> Record:
    return Record("sm90", triton, "0", rows)


def test_sass_is_counted_by_what_moves_and_by_width() -> None:
    usage = "Function k:\n REG:74 STACK:8 SHARED:0 LOCAL:0"
    assert sass(SASS, usage, "ttg.convert_layout %a\nttg.convert_layout %b") == Counts({"16": 2, "2": 1, "4": 1, "8": 1}, 1, 1, 1, 1, 1, 2, 74, 1)


@pytest.mark.parametrize(("now", "number", "said"), [
    ({"shuffles": 16}, None, None), ({"shuffles": 17}, "shuffles", (10, 17)), ({"loads": {"4": 24}}, None, None),
    ({"loads": {"4": 80}}, "loads", (20, 80)), ({"registers": 118}, None, None), ({"registers": 119}, "registers", (100, 119)),
    ({"spills": 1}, "spills", (0, 1)), ({"matrix": 23}, "matrix", (24, 23)), ({"matrix": 25}, None, None), ({"barriers": 3}, None, None),
])  # fmt: skip
def test_damage_is_what_passes_its_limit(now: dict[str, object], number: str | None, said: tuple[int, int] | None) -> None:
    found = record.damage(of("3.8.0", row=dataclasses.replace(PLAIN, **now)), [of("3.7.1", row=PLAIN), of("3.6.0", row=dataclasses.replace(PLAIN, barriers=99))])
    assert found == ([Damage("row", number, *said, "3.7.1")] if number and said else [])


def test_the_best_is_taken_number_by_number_and_a_row_that_none_else_has_says_nothing() -> None:
    others = [of("3.6.0", row=dataclasses.replace(PLAIN, barriers=1)), of("3.7.1", row=dataclasses.replace(PLAIN, shuffles=0))]
    found = record.damage(of("3.8.0", row=PLAIN, alone=PLAIN), others)
    assert [(one.number, one.best, one.of) for one in found] == [("barriers", 1, "3.6.0"), ("shuffles", 0, "3.7.1")]


def test_no_code_where_there_was_some_is_damage() -> None:
    assert record.damage(of("3.8.0", row="CompilationError: no"), [of("3.7.1", row=PLAIN)]) == [Damage("row", "code", "some", "CompilationError: no", "3.7.1")]
    assert record.damage(of("3.8.0", row=PLAIN), [of("3.7.1", row="CompilationError: no")]) == []


def test_a_record_comes_back_and_differences_of_either_sign_are_told(tmp_path: Path) -> None:
    held = of("3.8.0", b=PLAIN, a="CompilationError: no")
    path = record.write(held, tmp_path)
    assert path.name == "sm90-3.8.0.json" and record.read(path) == held and record.records("sm90", tmp_path) == [held]
    better = of("3.8.0", b=dataclasses.replace(PLAIN, shuffles=0, loads={"8": 20}), a=PLAIN, c=PLAIN)
    assert {(one.label, one.number, one.best, one.now) for one in record.apart(better, held)} == {("b", "shuffles", 10, 0), ("a", "code", "CompilationError: no", "some")}
    wider = of("3.8.0", b=dataclasses.replace(PLAIN, loads={"8": 20}))
    assert [(one.number, one.best, one.now) for one in record.apart(wider, held)] == [("widths of loads", "{'16': 20}", "{'8': 20}")]
    path.write_text("{}")
    with pytest.raises(BadInput, match="no record of counts"):
        record.read(path)


@pytest.mark.parametrize("arch", ["sm90", "gfx950"])
def test_every_version_on_record_has_every_row_and_compiles_it(arch: str) -> None:
    from tunefork.kernels.registry import shipped

    labels = {row.label for row in shipped(arch)}
    held = record.records(arch)
    assert [one.triton for one in held] == ["3.6.0", "3.7.1", "3.8.0", "3.9.0"]
    for one in held:
        assert set(one.rows) == labels, "python3 build.py kernels ratchet --triton VERSION --take"
        assert [label for label, row in one.rows.items() if isinstance(row, str)] == []


def test_no_triton_is_allowed_that_is_not_on_record() -> None:
    """3.8.0 took 1.3 to 3.6 times as long on an H200 before anybody had looked at it; every release that PyPI has from 3.5 on is asked for here."""
    packaging = pytest.importorskip("packaging.requirements", reason="NOT TESTED: needs packaging")
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
    (asked,) = (packaging.Requirement(line) for line in project["project"]["optional-dependencies"]["kernels"] if line.startswith("triton"))
    held = [one.triton for one in record.records("sm90")]
    assert held == [one.triton for one in record.records("gfx950")]
    for version in ("3.5.0", "3.5.1", "3.6.0", "3.7.0", "3.7.1", "3.8.0", "3.9.0", "3.9.1", "3.10.0", "4.0.0"):
        assert asked.specifier.contains(version) == (version in held), version


def test_labels_of_k_fit_every_version() -> None:
    """152 shuffles in `up` at TP1, M = 16, were 1.35 to 1.6 times the time on an H200 under Triton 3.9.0 (docs/kernels-moe.md)."""
    held = {one.triton: one.rows for one in record.records("sm90")}
    for label, row in held["3.6.0"].items():
        if "route" in label or "tiled" in label:
            continue
        for version, rows in held.items():
            assert rows[label].shuffles <= row.shuffles + 8, (version, label)  # type: ignore[union-attr] # all compile: the test above


@needs_triton
@pytest.mark.parametrize(("arch", "sample"), [
    ("sm90", ("down_token_kernel [i360-m4]",)),
    pytest.param("sm90", ("up_kernel [i2880-m16]", "down_tiled_kernel [i360-m960]"), marks=pytest.mark.slow),
    ("gfx950", ("route_kernel [i360-m2]",)),
    pytest.param("gfx950", ("up_kernel [i2880-m16]", "down_token_kernel [i360-m16]", "down_sorted_kernel [i360-m64]"), marks=pytest.mark.slow),
])  # fmt: skip
def test_the_installed_triton_makes_what_its_record_says(arch: str, sample: tuple[str, ...]) -> None:
    from tunefork.kernels.ratchet.versions import installed

    held = {one.triton: one.rows for one in record.records(arch)}
    if installed() not in held:
        pytest.skip(f"NOT TESTED: needs triton with a record, here is {installed()}")
    labels = [label for label in held[installed()] if any(part in label for part in sample)]
    assert len(labels) == len(sample)
    for label, found in counted(arch, labels, workers=1):
        assert found == held[installed()][label], label


@needs_triton
def test_the_command_fails_where_a_number_is_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tunefork.kernels.ratchet.versions import installed

    monkeypatch.setattr(record, "RECORDS", tmp_path)
    monkeypatch.setattr(record.records, "__defaults__", (tmp_path,))
    monkeypatch.setattr(record.write, "__defaults__", (tmp_path,))
    words = ["--arch", "gfx950", "--only", "combine_kernel [i360-m256]", "--workers", "1"]
    assert CliRunner().invoke(ratchet, [*words, "--take"], standalone_mode=False).return_value == 0
    assert CliRunner().invoke(ratchet, words, standalone_mode=False).return_value == 0
    path = tmp_path / f"gfx950-{installed()}.json"
    held = record.read(path)
    (label,) = held.rows
    record.write(dataclasses.replace(held, rows={label: dataclasses.replace(held.rows[label], barriers=7)}), tmp_path)  # type: ignore[type-var, arg-type] # it compiled
    done = CliRunner().invoke(ratchet, [*words, "--json"], standalone_mode=False)
    assert done.return_value == 1
    said = json.loads(done.stdout[done.stdout.index("[\n") :] if "[\n" in done.stdout else done.stdout)
    assert [(one["number"], one["best"], one["now"]) for one in said[0]["changed"]] == [("barriers", 7, 0)]


@pytest.mark.slow
def test_a_version_that_nobody_has_is_said() -> None:
    from tunefork.kernels.ratchet import versions

    with pytest.raises(BadInput, match=r"triton 0\.0\.1 cannot be had here"):
        versions.folder("0.0.1")


@pytest.mark.parametrize("word", ["../../x", "3.9.0 --index-url x", "", "-r", "3.9.0/..", "v3"])
def test_a_word_that_is_no_version_makes_no_folder(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunefork.kernels.ratchet import versions

    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BadInput, match="is no version"):
        versions.folder(word)
    assert not (tmp_path / "cache").exists()


def test_half_a_triton_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip moves folder by folder: what a kill leaves has `triton/__init__.py` and not the rest."""
    from tunefork.kernels.ratchet import versions

    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path))
    half = tmp_path / "triton" / "3.9.0"
    (half / "triton").mkdir(parents=True)
    (half / "triton" / "__init__.py").touch()
    pip = tmp_path / "pip"
    pip.write_text(f"#!{sys.executable}\nimport sys, pathlib\nat = pathlib.Path(sys.argv[sys.argv.index('--target') + 1])\n"
                   "(at / 'triton').mkdir(parents=True)\n(at / 'triton' / '__init__.py').write_text('whole')\n")
    pip.chmod(0o755)
    monkeypatch.setattr(versions.sys, "executable", str(pip))
    assert (versions.folder("3.9.0") / "triton" / "__init__.py").read_text() == "whole"
    pip.unlink()
    assert versions.folder("3.9.0") == half and [path.name for path in half.parent.iterdir() if path.name.startswith(".3")] == []


def test_a_child_that_says_much_and_prints_between_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's compiler prints modules on stderr: where nobody read that before stdout's end, both waited for ever."""
    from tunefork.kernels.ratchet import versions

    child = tmp_path / "child"
    child.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write('x' * 1_000_000)\nprint('a library says hello')\nprint('[\"row\", \"no code\"]')\n")
    child.chmod(0o755)
    monkeypatch.setattr(versions.sys, "executable", str(child))
    monkeypatch.setattr(versions, "folder", lambda _: tmp_path)
    monkeypatch.setattr(versions, "installed", lambda: "0")
    assert versions.take("gfx950", "3.9.0").rows == {"row": "no code"}


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "5", '{"arch": 1}', '{"arch": "a", "triton": "t", "source": "s", "rows": []}', '{"arch": "a", "triton": "t", "source": "s", "rows": {"x": 5}}'])
def test_a_file_that_is_no_record(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadInput, match="is no record of counts"):
        record.read(tmp_path / "x.json")
