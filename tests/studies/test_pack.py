"""The pack of the full-size study: GPU code cut to one chip, what of a wheel is packed, the lock, and run.sh from its first line with a stand-in of python."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from studies.fullsize.pack import fatbin, tarball, wheels
from studies.fullsize.pack.fatbin import CODE, PTX
from tunefork.base.errors import SourceError
from tunefork.base.layout import Layout
from tunefork.patchset.sources.pins import pin_of

PACK = Path(wheels.__file__).parent
ROOT = PACK.parents[2]


def entry(kind: int, chip: int, payload: bytes, header: int = 64) -> bytes:
    """As nvcc's fatbinary lays it out: the chip at byte 28 of a header of ``header`` bytes."""
    return (struct.pack("<HHIQ", kind, 0x0101, header, len(payload)) + bytes(12) + struct.pack("<I", chip)).ljust(header, b"\x11") + payload


def container(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", fatbin.MAGIC, 1, 16, len(body)) + body


def test_the_payloads_of_other_chips_become_zeros_and_nothing_else_changes() -> None:
    first = container(entry(CODE, 80, b"A" * 24), entry(CODE, 90, b"B" * 40, header=80), entry(PTX, 90, b"C" * 16), entry(CODE, 90, b"D" * 8))
    library = b"\x7fELF host code" + first + b"between" + container(entry(CODE, 120, b"E" * 32)) + b"after"
    done = bytearray(library)
    assert fatbin.cut(done, 90) == fatbin.Cut(containers=2, without=1, kept=48, zeroed=24 + 16 + 32)
    expected = library
    for gone in (b"A" * 24, b"C" * 16, b"E" * 32):
        assert expected.count(gone) == 1
        expected = expected.replace(gone, bytes(len(gone)))
    assert bytes(done) == expected


def test_small_ptx_stays_where_there_is_no_machine_code_for_the_chip() -> None:
    """The newest that the chip can compile; code of a smaller chip does not run on it, and PTX of a larger one does not compile."""
    made = bytearray(container(entry(CODE, 80, b"A" * 8), entry(PTX, 75, b"B" * 8), entry(PTX, 80, b"C" * 8), entry(PTX, 100, b"D" * 8)))
    assert [(one.kind, one.chip) for one in fatbin.chosen(next(fatbin.containers(made)), 90, 8)] == [(PTX, 80)]
    assert fatbin.chosen(next(fatbin.containers(made)), 90, 7) == []


def test_four_bytes_that_only_look_like_a_container_are_passed_over() -> None:
    magic = struct.pack("<I", fatbin.MAGIC)
    library = magic + b"\x02\x00\x10\x00" + magic * 2 + container(entry(CODE, 90, b"A" * 8)) + magic
    assert [[one.chip for one in entries] for entries in fatbin.containers(library)] == [[90]]


@pytest.mark.parametrize("damaged", [container(entry(3, 90, b"A" * 8)), container(entry(CODE, 90, b"A" * 8))[:-1], container(entry(CODE, 90, b"")[:20]),
                                     container(entry(CODE, 90, b"A" * 8)[:-8])])  # fmt: skip
def test_a_container_that_cannot_be_read_is_said_and_nothing_is_cut(damaged: bytes) -> None:
    library = bytearray(container(entry(CODE, 80, b"A" * 8)) + damaged)
    before = bytes(library)
    with pytest.raises(fatbin.Damaged):
        fatbin.cut(library, 90)
    assert library == before


def wheel(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as box:
        for name, content in members.items():
            box.writestr(name, content)
    return path


def test_a_tarball_holds_what_the_path_needs_and_is_the_same_each_time(tmp_path: Path) -> None:
    record = b"x/__init__.py,sha256=abc,3\nx/tests/a.py,sha256=def,4\n"
    made = wheel(tmp_path / "x-1-py3-none-any.whl", **{
        "x/__init__.py": b"one", "x/tests/a.py": b"two", "x-1.data/purelib/y.py": b"three", "x-1.data/scripts/x": b"no", "x-1.dist-info/RECORD": record,
        "x/lib.so": container(entry(CODE, 90, b"B" * 8), entry(CODE, 80, b"A" * 8))})  # fmt: skip
    cuts = tarball.write(tmp_path / "a.txz", [made])
    assert cuts == {"x/lib.so": fatbin.Cut(1, 0, 8, 8)}
    with tarfile.open(tmp_path / "a.txz") as tar:
        found = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    assert found == {"x/__init__.py": b"one", "y.py": b"three", "x-1.dist-info/RECORD": b"x/__init__.py,,\n",
                     "x/lib.so": container(entry(CODE, 90, b"B" * 8), entry(CODE, 80, bytes(8)))}  # fmt: skip
    tarball.write(tmp_path / "b.txz", [made])
    assert (tmp_path / "a.txz").read_bytes() == (tmp_path / "b.txz").read_bytes()


def test_flash_attention_3_stays_and_2_does_not() -> None:
    """vLLM's attention refuses to be imported without both."""
    assert tarball.place("vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so") and not tarball.place("vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so")


def test_what_is_required_is_read_for_the_machine_and_not_for_this_python(tmp_path: Path) -> None:
    made = wheel(tmp_path / "x-1-py3-none-any.whl", **{"x-1.dist-info/METADATA": b"""Metadata-Version: 2.1
Name: x
Version: 1
Requires-Dist: a
Requires-Dist: b; python_version < "3.12"
Requires-Dist: c; extra == "more"
Requires-Dist: d; sys_platform == "win32"
"""})  # fmt: skip
    assert [one.name for one in wheels.needs(made, set())] == ["a"]
    assert [one.name for one in wheels.needs(made, {"more"})] == ["a", "c"]


def test_the_lock_is_of_the_pinned_vllm_and_holds_nothing_that_the_machine_has() -> None:
    locked = wheels.locked()
    assert locked["vllm"] == pin_of(Layout.here(), "vllm").version, wheels.RELOCK
    assert not set(locked) & (wheels.known(wheels.MACHINE) | wheels.known(wheels.LEFT_OUT))
    assert all(" --hash=sha256:" in line for line in wheels.LOCK.read_text().splitlines() if not line.startswith("#"))
    assert not wheels.known(wheels.MACHINE) & wheels.known(wheels.LEFT_OUT)


def test_a_lock_of_another_vllm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="lock.txt is of vLLM .*, pinned is 9.9"):
        wheels.fetched("9.9", tmp_path)


def test_relocking_takes_the_newest_that_all_who_ask_accept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """a asks for b, c for b < 2: the b 2 that came first is taken again, and with it goes what only it asked for."""
    index = {"vllm": [("1", ["a", "c", "torch"])], "a": [("1", ["b"])], "c": [("1", ["d"])], "d": [("1", ["b<2"])], "b": [("2", ["e"]), ("1.5", [])], "e": [("1", [])]}

    def download(words: list[str], into: Path) -> None:
        for one in map(Requirement, words):
            version, needed = next((version, needed) for version, needed in index[one.name] if one.specifier.contains(version))
            said = "Metadata-Version: 2.1\n" + "".join(f"Requires-Dist: {text}\n" for text in needed)
            wheel(into / f"{one.name}-{version}-py3-none-any.whl", **{f"{one.name}-{version}.dist-info/METADATA": said.encode()})

    monkeypatch.setattr(wheels, "download", download)
    (tmp_path / "got").mkdir()
    wheels.relock("1", tmp_path / "got", tmp_path / "lock.txt")
    assert wheels.locked(tmp_path / "lock.txt") == {"vllm": "1", "a": "1", "b": "1.5", "c": "1", "d": "1"}


STAND_IN = """#!/bin/sh
# python as run.sh calls it: what it is asked is told into $SEEN, a run writes a start and, asked to, stays
echo "$PYTHONPATH $*" >>"$SEEN"
case "$*" in
*studies.fullsize.model\\ *) mkdir -p "$3" && echo '{{}}' >"$3/config.json" ;;
*studies.fullsize.run\\ *)
    while [ $# -gt 0 ]; do case "$1" in --place) place=$2 ;; --out) out=$2 ;; esac; shift; done
    echo "{{\\"kind\\": \\"start\\", \\"arm\\": \\"T\\", \\"gpu\\": 0, \\"place\\": $place, \\"at\\": 1}}" >>"$out"
    echo $$ >"$SEEN.pid"
    [ -z "$STAYS" ] || exec {python} -c 'import time; time.sleep(60)' ;;
*tarfile*) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack of two small wheels, with the real scripts."""
    folder = tmp_path / "pack"
    folder.mkdir()
    for name in ("vllm", "site"):
        tarball.write(folder / f"{name}.txz", [wheel(tmp_path / f"{name}-1-py3-none-any.whl", **{f"{name}_module.py": b"x = 1\n"})])
    for name in ("setup.sh", "run.sh"):
        (folder / name).write_bytes((PACK / name).read_bytes())
    return folder


def started(pack: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    base = pack.parent
    python, out = base / "python", base / "out"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)
    out.mkdir(exist_ok=True)
    known = {**os.environ, "SEEN": str(base / "seen"), "STAYS": "", "PYTHON": str(python), "OUT": str(out), "TUNEFORK_SERVED": str(base / "served"),
             "COPY_EVERY": "0.1", **environment}  # fmt: skip
    return subprocess.Popen(["bash", str(pack / "run.sh"), *words], cwd=ROOT, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_calls_on_one_machine_go_on_in_one_session(pack: Path) -> None:
    base = pack.parent
    for words in (("T,F", "0", "480"), ("F,T", "2", "560", "4:40,16:48")):
        child = started(pack, *words)
        said, _ = child.communicate(timeout=60)
        assert child.returncode == 0, said
    seen = [line for line in (base / "seen").read_text().splitlines() if "-m tarfile" not in line]  # where tar has no xz, as on a stock Debian
    assert [line.split("studies.fullsize.")[1].split()[0] for line in seen] == ["ready", "model", "run", "table", "table", "ready", "run", "table", "table"]
    runs = [line for line in seen if "fullsize.run " in line]
    assert "--sequence T,F --gpu 0 --place 0 " in runs[0] and "--load 1:4,4:40,16:64,64:128,4:8:8192 --repeats 2" in runs[0]
    assert "--sequence F,T --gpu 0 --place 2 " in runs[1] and "--load 4:40,16:48 --repeats 2" in runs[1]
    seconds = [float(line.partition("--seconds ")[2]) for line in runs]
    assert 450 < seconds[0] <= 480 and 530 < seconds[1] <= 560
    places = [Path(one) for one in seen[0].split()[0].split(":")]
    assert (places[1] / "vllm_module.py").is_file() and (places[2] / "site_module.py").is_file() and (places[0] / "studies").resolve() == ROOT / "studies"
    assert not (places[0] / "kernels").exists(), "the root's link would hide a library"
    assert seen[-1].endswith("--base T --leave-out 0:0:0"), "the first start of T; that of F, at 1, left no row"
    assert (base / "out/rows.jsonl").read_text().count('"kind": "start"') == 2
    assert sorted(path.name for path in (base / "out").iterdir()) == ["logs.tgz", "rows.jsonl", "run.log", "table.md"]


def test_a_call_that_is_killed_has_left_its_rows(pack: Path) -> None:
    child = started(pack, "T", "0", "480", STAYS="1")
    rows = pack.parent / "out/rows.jsonl"
    try:
        until = time.monotonic() + 30
        while not rows.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert '"kind": "start"' in rows.read_text()
    finally:
        child.kill()
        child.wait(timeout=10)
        os.kill(int((pack.parent / "seen.pid").read_text()), signal.SIGKILL)  # tee and timeout end with it
    until = time.monotonic() + 30
    while (left := running(pack)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left, "what copies the rows goes on"


def running(pack: Path) -> list[bytes]:
    """Command lines of processes that name the pack."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return [line for line in found if os.fsencode(pack) in line]


@pytest.mark.slow
def test_what_still_runs_after_the_time_is_stopped(pack: Path) -> None:
    began = time.monotonic()
    child = started(pack, "T", "0", "-12", STAYS="1")  # 3 s, with the 15 that are given
    said, _ = child.communicate(timeout=40)
    assert child.returncode == 0 and time.monotonic() - began < 30, said
    assert "done after" in said and (pack.parent / "out/rows.jsonl").exists()
