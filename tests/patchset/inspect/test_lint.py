"""tunefork/patchset/inspect/lint.py: each rule fires on a patch that breaks it, and on no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from world import FILES, TRAILERS, World, applied

from tunefork.patchset.checkout.export import export
from tunefork.patchset.inspect.lint import lint, native_scope
from tunefork.patchset.series.diff import FileChange
from tunefork.patchset.series.mail import PatchFile

BODY = "The problem is this.\n\n" + TRAILERS


def found(world: World, subject: str, body: str = BODY, files: dict[str, bytes | None] | None = None) -> list[tuple[str, str]]:
    """(rule, level) for a series of one patch."""
    applied(world)
    world.commit(files or {"b.py": b"mine\n"}, subject, body)
    export(world.layout, "up")
    return [(each.rule, each.level) for each in lint(world.layout, "up")]


def test_a_good_patch_has_no_findings(world: World) -> None:
    assert found(world, "[Up] Change b") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("subject", "body", "rule"),
    [
        ("Change b", BODY, "subject"),
        ("[Up] Change b.", BODY, "subject"),
        ("[Up] Change b", TRAILERS, "body"),
        ("[Up] Change b", BODY.replace("Scope: python\n", ""), "trailers"),
        ("[Up] Change b", BODY.replace("Scope: python", "Scope: snake"), "trailers"),
        ("[Up] Change b", BODY.replace("Pending", "Backport 1234"), "trailers"),
        ("[Up] Change b", BODY + "\nScope: python", "trailers"),
        ("[Up] Change b", BODY.replace("Upstream-Tests: none a test", "Upstream-Tests: the usual ones"), "upstream-tests"),
        ("[Up] Change b", BODY.replace("Upstream-Tests: none a test", "Upstream-Tests: none"), "upstream-tests"),
        ("[Up] Change b", BODY.replace("none, a test", "10 % measured on an MI355X"), "gain"),
        ("[Up] Change b", BODY + "\nDepends-On: nobody", "depends-on"),
        ("[Up] Change b", BODY.replace("Verified-by: true", "Verified-by: python3 -m pytest tests/none/test_gone.py::test_x"), "verified-by"),
        ("[Up] Change b", BODY.replace("Verified-by: true", "Verified-by: python3 -m pytest ../../tests/test_gone.py"), "verified-by"),
        ("[Up] Change b", BODY.replace("Verified-by: true", "Verified-by: python3 -c 'open"), "verified-by"),
    ],
)
def test_each_message_rule(world: World, subject: str, body: str, rule: str) -> None:
    assert (rule, "error") in found(world, subject, body)


def test_a_test_file_may_be_the_upstreams_or_ours(world: World) -> None:
    (world.root / "tests").mkdir()
    (world.root / "tests" / "test_ours.py").touch()
    said = "Verified-by: python3 -m pytest b.py pkg/c.py::test_x ../../tests/test_ours.py tests/test_ours.py"
    assert found(world, "[Up] Change b", BODY.replace("Verified-by: true", said)) == []


@pytest.mark.slow
@pytest.mark.parametrize("named", ["tests/test_envs.py", "tests/a.py tests/b.py::test_x", "none its kernels need a GPU", "op_tests/test_moe.py"])
def test_the_tests_of_upstreams_may_be_named_so(world: World, named: str) -> None:
    assert found(world, "[Up] Change b", BODY.replace("Upstream-Tests: none a test", f"Upstream-Tests: {named}")) == []


def test_a_patch_that_names_none_is_told_so(world: World) -> None:
    assert ("upstream-tests", "warning") in found(world, "[Up] Change b", BODY.replace("Upstream-Tests: none a test\n", ""))


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["unknown until measured", "not measured", "3 % measured (record ab-20261122-1)", "unmeasured"])
def test_a_gain_may_say_that_it_was_not_measured(world: World, claim: str) -> None:
    assert found(world, "[Up] Change b", BODY.replace("none, a test", claim)) == []


@pytest.mark.slow
@pytest.mark.parametrize("added", [b"trailing \n", b"tab\t\n", b"<<<<<<< ours\n"])
def test_white_space(world: World, added: bytes) -> None:
    assert ("white-space", "error") in found(world, "[Up] Change b", files={"b.py": FILES["b.py"] + added})


def test_a_thick_hunk_is_a_warning(world: World) -> None:
    more = b"".join(b"x%d = 1\n" % number for number in range(70))
    assert found(world, "[Up] Change b", files={"b.py": FILES["b.py"] + more}) == [("thin", "warning")]


def test_many_lines_in_a_new_file_are_none(world: World) -> None:
    assert found(world, "[Up] Add new", files={"new.py": b"".join(b"x%d = 1\n" % number for number in range(70))}) == []


@pytest.mark.parametrize(("scope", "path", "level"), [("python", "csrc/x.cu", "error"), ("native", "vllm/x.py", "warning")])
def test_scope_and_paths_agree(scope: str, path: str, level: str) -> None:
    message = f"[ROCm] X\n\nWhy.\n\nScope: {scope}\n".encode()
    patch = PatchFile("x", b"", b"A <a@b>", b"0 +0000", message, b"")
    assert [each[0] for each in native_scope("vllm", patch, [FileChange(path.encode(), path.encode())])] == [level]


def test_an_undeclared_dependency_is_found(world: World) -> None:
    applied(world)
    world.commit({"b.py": b"one\n"}, "[Up] One", BODY)
    world.commit({"b.py": b"two\n"}, "[Up] Two", BODY)
    export(world.layout, "up")
    (finding,) = lint(world.layout, "up")
    assert (finding.patch, finding.rule, finding.level) == ("two", "depends-on", "error") and "Depends-On" in finding.remedy


def test_a_dependency_that_is_not_needed_is_a_warning(world: World) -> None:
    applied(world)
    world.commit({"a.py": b"one\n"}, "[Up] One", BODY)
    world.commit({"b.py": b"two\n"}, "[Up] Two", BODY + "\nDepends-On: one")
    export(world.layout, "up")
    assert [(each.patch, each.level) for each in lint(world.layout, "up")] == [("two", "warning")]


def test_a_loose_file_is_an_error(world: World) -> None:
    found(world, "[Up] Change b")
    (world.series / "loose.patch").write_bytes((world.series / "change-b.patch").read_bytes())
    assert [(each.patch, each.rule) for each in lint(world.layout, "up")] == [("loose", "series")]


@pytest.mark.parametrize(
    ("spoil", "said", "remedy"),
    [
        (lambda data: data.replace(b"@@ -", b"@@ x", 1), "hunk header|stands between", "format-patch"),
        (lambda data: data[: data.index(b"--- a/")] + b"Binary files a/a.py and b/a.py differ\n", "without its data", "--binary"),
        (lambda data: data.replace(b"From: ", b"Whom: ", 1), "", ""),
    ],
)
def test_a_patch_that_cannot_be_read_is_one_finding_and_the_others_are_linted(
    world: World, spoil: Callable[[bytes], bytes], said: str, remedy: str
) -> None:
    applied(world)
    world.commit({"a.py": b"one\n"}, "[Up] One", BODY)
    world.commit({"b.py": b"two\n"}, "Two names no area", BODY)
    export(world.layout, "up")
    path = world.series / "one.patch"
    path.write_bytes(spoil(path.read_bytes()))
    listed = lint(world.layout, "up")
    (unread,) = [each for each in listed if each.rule == "format"]
    assert (unread.patch, unread.level) == ("one", "error")
    assert re.search(said, unread.message) and remedy in unread.remedy
    assert [(each.patch, each.rule) for each in listed if each.level == "error" and each.rule != "format"] == [("two-names-no-area", "subject")]
    assert {each.patch for each in listed if each.level == "skipped"} == {"one", "two-names-no-area"}


def test_without_a_checkout_the_trial_says_that_it_was_skipped(world: World) -> None:
    import shutil

    found(world, "[Up] Change b")
    shutil.rmtree(world.root / "work")
    assert [(each.rule, each.level) for each in lint(world.layout, "up")] == [("depends-on", "skipped")]


def test_the_command(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tunefork.cli.main import main

    found(world, "Change b")
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    assert main(["patch", "lint", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False and {each["rule"] for each in answer["findings"]} == {"subject"}
