"""Version strings: one per series revision and per state of the work tree; the file that holds them."""

import subprocess
import sys

import pytest
from develop_workshop import git

from tunefork.develop import version
from tunefork.develop.version import Revision, distribution_version, read_version, revision, tree_version, write_version


def test_the_two_versions():
    assert distribution_version("0.29.0", "cpu") == "0.29.0+tunefork.cpu"
    assert tree_version("0.29.0", Revision("0123456789ab", ""), "cpu") == "0.29.0+p0123456789ab.cpu"
    assert tree_version("0.29.0", Revision("0123456789ab", "89abcdef"), "gfx950") == "0.29.0+p0123456789ab.w89abcdef.gfx950"


@pytest.mark.parametrize("text", ["0.29.0+p0123456789ab.w89abcdef.cpu", "0.29.0+tunefork.gfx950"])
def test_they_are_versions_to_pip_and_stay_as_they_are(text):
    packaging = pytest.importorskip("packaging.version")
    assert str(packaging.Version(text)) == text


def test_the_file_says_what_vllm_reads_from_it(workshop):
    assert write_version(workshop.vllm, "vllm", "0.29.0+p1.cpu")
    namespace = {}
    exec(version.version_file(workshop.vllm, "vllm").read_text(), namespace)
    assert namespace["__version__"] == read_version(workshop.vllm, "vllm") == "0.29.0+p1.cpu"
    assert namespace["__version_tuple__"] == (0, 29, 0, "p1.cpu")
    assert git(workshop.vllm, "status", "--porcelain") == ""


def test_an_unchanged_version_leaves_the_file_untouched(workshop):
    write_version(workshop.vllm, "vllm", "0.29.0+p1.cpu")
    before = version.version_file(workshop.vllm, "vllm").stat().st_mtime_ns
    assert not write_version(workshop.vllm, "vllm", "0.29.0+p1.cpu")
    assert version.version_file(workshop.vllm, "vllm").stat().st_mtime_ns == before


def test_versions_of_one_size_within_a_second_are_both_seen(workshop):
    """Python takes bytecode for current by size and whole seconds of mtime."""
    code = "import vllm; print(vllm.__version__)"
    seen = []
    for text in ("0.29.0+p1.cpu", "0.29.0+p2.cpu", "0.29.0+p3.cpu"):
        write_version(workshop.vllm, "vllm", text)
        env = {"PYTHONPATH": str(workshop.vllm)}
        seen.append(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip())
    assert seen == ["0.29.0+p1.cpu", "0.29.0+p2.cpu", "0.29.0+p3.cpu"]


def test_a_version_written_by_setuptools_scm_is_read(workshop):
    version.version_file(workshop.vllm, "vllm").write_text("version: str\n__version__ = version = '0.29.0+tunefork.cpu'\n")
    assert read_version(workshop.vllm, "vllm") == "0.29.0+tunefork.cpu"
    assert read_version(workshop.aiter, "aiter") is None


def test_a_revision_tells_every_state_of_the_work_tree_apart(workshop):
    tree = workshop.tree("vllm")
    model = workshop.vllm / "vllm" / "model.py"
    states = [revision(tree)]
    assert states[0] == Revision(tree.series_hash, "")
    model.write_text("SCALE = 2\n")
    states.append(revision(tree))
    git(workshop.vllm, "add", "-A")
    assert revision(tree) == states[-1], "staging changes no file"
    (workshop.vllm / "new.py").write_text("1\n")
    states.append(revision(tree))
    (workshop.vllm / "new.py").write_text("2\n")
    states.append(revision(tree))
    (workshop.vllm / "new.py").unlink()
    git(workshop.vllm, "commit", "-q", "-m", "an author's commit on top of the series")
    states.append(revision(tree))
    assert len(set(states)) == len(states)
    git(workshop.vllm, "revert", "--no-edit", "HEAD")
    assert revision(tree) == states[0]


def test_asking_for_a_revision_writes_nothing(workshop):
    index = workshop.vllm / ".git" / "index"
    (workshop.vllm / "vllm" / "model.py").touch()
    before = index.stat().st_mtime_ns
    revision(workshop.tree("vllm"))
    assert index.stat().st_mtime_ns == before
