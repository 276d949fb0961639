"""`variants test`: a selection of upstream's tests on two variants; here pytest itself runs two small trees."""

import json
import sys
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput, BuildError, MissingTool
from tunefork.base.layout import Layout
from tunefork.cli import variants as command
from tunefork.develop import upstream_tests
from tunefork.develop.variants import VariantEnvironment
from tunefork.patchset.checkout.applied import AppliedTree
from tunefork.patchset.series.series import Series

COMMON = """
import os, pytest, unittest
def test_same(): assert os.environ["HF_HUB_OFFLINE"] == "1"
def test_fails_on_both(): assert False
def test_skipped(): pytest.skip("no GPU")
@pytest.mark.parametrize("value", [object()])
def test_address(value): pass
class TestIn:
    def test_it(self): pass
"""
TREES = {
    "base": COMMON + "def test_breaks(): pass\ndef test_mends(): assert False\ndef test_old(): pass\ndef test_skips_later(): pass\n",
    "all": COMMON + "def test_breaks(): assert False\ndef test_mends(): pass\ndef test_new(): pass\ndef test_skips_later(): pytest.skip('x')\n",
}


@pytest.fixture
def sides(tmp_path, monkeypatch):
    """Two checkouts with tests of their own; nothing is fetched."""
    layout = Layout(tmp_path / "root", tmp_path / "cache")
    series = layout.series_dir("vllm")
    series.mkdir(parents=True)
    (series / "series").write_text("")
    monkeypatch.setattr(upstream_tests, "extra_packages", lambda *_: tmp_path / "extra")
    made = {}
    for variant, text in TREES.items():
        tree = layout.work / f"vllm@{variant}"
        (tree / "tests").mkdir(parents=True)
        (tree / "tests" / "test_one.py").write_text(text)
        (tree / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
        applied = AppliedTree("vllm", variant, tree, "sdist", "0" * 40, "1" * 40, "2" * 40, ())
        made[variant] = VariantEnvironment(Path(sys.executable), {}, applied, "1", "cpu")
    return layout, made["base"], made["all"]


@pytest.mark.slow
def test_only_what_differs(sides):
    found = upstream_tests.both(*sides, ["tests/test_one.py"])
    assert (found.left, found.right) == ("base", "all")
    assert found.newly_failing == ("tests/test_one.py::test_breaks",)
    assert found.newly_passing == ("tests/test_one.py::test_mends",)
    assert found.otherwise == ("tests/test_one.py::test_skips_later: passed, then skipped",)
    assert found.only_left == ("tests/test_one.py::test_old",)
    assert found.only_right == ("tests/test_one.py::test_new",)
    assert found.same == {"passed": 3, "failed": 1, "skipped": 1}, "an address in a test's name makes no difference"
    assert all(log.is_file() for log in found.logs)


@pytest.mark.slow
def test_the_command_says_it_and_ends_with_1(sides, monkeypatch, capsys):
    layout, *both = sides
    monkeypatch.setattr(Layout, "here", lambda: layout)
    monkeypatch.setattr("tunefork.develop.variants.environment", lambda _layout, variant, _say: both[variant == "all"])
    assert command.test.main(["base", "all", "--", "tests/test_one.py", "-k", "breaks or same"], standalone_mode=False) == 1
    said = capsys.readouterr().out
    assert "newly failing: tests/test_one.py::test_breaks" in said
    assert "same on both: 1 passed" in said
    assert command.test.main(["base", "all", "--json", "--", "tests/test_one.py", "-k", "mends"], standalone_mode=False) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["newly_passing"] == ["tests/test_one.py::test_mends"]
    assert set(told) >= {"left", "right", "newly_failing", "otherwise", "only_left", "only_right", "same", "seconds", "logs"}


@pytest.mark.slow
def test_a_file_that_cannot_be_imported_is_an_error_of_its_own(sides):
    _, _, right = sides
    (right.tree.path / "tests" / "test_one.py").write_text("import no_such_module\n")
    found = upstream_tests.both(*sides, ["tests/test_one.py"])
    assert len(found.only_right) == 1 and len(found.only_left) == 9, "what was collected once is not called newly passing"


@pytest.mark.slow
@pytest.mark.parametrize(("tests", "message"), [(["tests/test_none.py"], "not found: .*test_none.py"), (["tests/test_one.py", "-k", "nothing"], "holds no test")])
def test_a_wrong_selection(sides, tests, message):
    with pytest.raises(BadInput, match=message):
        upstream_tests.both(*sides, tests)


@pytest.mark.slow
def test_tests_that_do_not_start(sides):
    _, left, _ = sides
    (left.tree.path / "tests" / "conftest.py").write_text("import tblib_is_not_here\n")
    with pytest.raises(MissingTool, match="did not start on base .*tblib_is_not_here"):
        upstream_tests.both(*sides, ["tests/test_one.py"])


def series_with(tmp_path, **trailers):
    for name, value in trailers.items():
        (tmp_path / f"{name}.patch").write_text(
            "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\nFrom: T <t@localhost>\nDate: Sat, 1 Jan 2000 00:00:00 +0000\n"
            f"Subject: [X] {name}\n\nWhy.\n\nUpstream-Tests: {value}\n---\n\ndiff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n"
            f"+++ b/{name}\n@@ -0,0 +1 @@\n+x\n")
    (tmp_path / "series").write_text("".join(f"{name}.patch\n" for name in trailers))
    return Series.load("vllm", tmp_path)


def test_the_patches_between_two_variants_name_the_selection(tmp_path):
    series = series_with(tmp_path, one="tests/a.py tests/b.py", two="none it needs a GPU", three="tests/b.py tests/c.py::test_x")
    assert upstream_tests.selection(series, "base", "all") == ("tests/a.py", "tests/b.py", "tests/c.py::test_x")
    assert upstream_tests.selection(series, "upto:one", "all") == ("tests/b.py", "tests/c.py::test_x")
    with pytest.raises(BadInput, match="no patch between base and only:two names tests"):
        upstream_tests.selection(series, "base", "only:two")


def test_extra_packages_have_upstreams_own_versions(tmp_path, monkeypatch):
    (tmp_path / "requirements" / "test").mkdir(parents=True)
    listed = tmp_path / upstream_tests.LISTED
    listed.write_text("".join(f"{name}==1.{at}\n    # via\n" for at, name in enumerate(upstream_tests.EXTRA)) + "torch==2\n")
    assert upstream_tests.requirements(tmp_path) == [f"{name}==1.{at}" for at, name in enumerate(upstream_tests.EXTRA)]
    listed.write_text("tblib==1\n")
    with pytest.raises(BuildError, match="pins no pytest-asyncio, pytest-mock, pytest-timeout"):
        upstream_tests.requirements(tmp_path)
    monkeypatch.setattr(upstream_tests, "EXTRA", ("tblib",))  # what is printed: an EXTRA that this pin has
    assert upstream_tests.requirements(tmp_path) == ["tblib==1"]


def test_the_tests_that_our_patches_name_are_there():
    layout = Layout.here()
    for upstream in ("vllm", "aiter"):
        series = Series.load(upstream, layout.series_dir(upstream))
        for name, patch in series.patches.items():
            for path in upstream_tests.chosen(patch.trailers(upstream_tests.TRAILER)) if layout.checkout(upstream).is_dir() else ():
                assert (layout.checkout(upstream) / path.partition("::")[0]).exists(), f"{name}: {path}"
