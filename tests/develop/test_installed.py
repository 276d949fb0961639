"""Reading an environment: distributions, the lock, import paths, the mark."""

import json
import subprocess
import sys

import pytest

from tunefork.develop import installed
from tunefork.develop.installed import Mark, distributions, import_paths, locked, read_mark, unmet, write_mark


def make(folder, info, editable=None):
    path = folder / f"{info}.dist-info"
    path.mkdir(parents=True)
    if editable is not None:
        (path / "direct_url.json").write_text(json.dumps({"dir_info": {"editable": True}, "url": editable}))


def test_distributions_are_read_from_their_folders(tmp_path):
    make(tmp_path / "a", "Some.Name-1.0")
    make(tmp_path / "a", "vllm-0.29.0+tunefork.cpu", "file:///work/a%20b/vllm")
    make(tmp_path / "b", "some_name-2.0")
    found = distributions([str(tmp_path / "a"), str(tmp_path / "b"), "", str(tmp_path / "none")])
    assert found["some-name"].version == "1.0"
    assert str(found["vllm"].editable) == "/work/a b/vllm"
    assert found["some-name"].editable is None


@pytest.mark.slow
def test_every_distribution_that_pip_lists_is_seen():
    """Held against the real pip in this interpreter."""
    listed = json.loads(subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"], capture_output=True, text=True, check=True
    ).stdout)  # fmt: skip
    ours = distributions()
    assert len(listed) > 10
    assert {installed.normalised(one["name"]): one["version"] for one in listed} == {
        name: ours[name].version for name in (installed.normalised(one["name"]) for one in listed)
    }


def test_the_lock_against_an_environment(tmp_path):
    (tmp_path / "lock.txt").write_text("# head\nOne==1.0\ntwo-parts==2.0 # why\n\ntorch==2.13.0\nfour==4\n")
    pins = locked(tmp_path / "lock.txt")
    assert pins == {"one": "1.0", "two-parts": "2.0", "torch": "2.13.0", "four": "4"}
    for info in ("one-1.0", "Two_Parts-2.0.1", "torch-2.13.0+cpu"):
        make(tmp_path / "site", info)
    assert unmet(pins, distributions([str(tmp_path / "site")])) == ["two-parts", "four"]


def test_import_paths_ask_a_fresh_interpreter_and_ignore_the_current_folder(tmp_path, monkeypatch):
    for place in ("here", "there"):
        (tmp_path / place / "some_package").mkdir(parents=True)
        (tmp_path / place / "some_package" / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path / "here")
    assert import_paths("some_package") == {"some_package": None}
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "there"))
    assert import_paths("some_package", "json")["some_package"] == tmp_path / "there" / "some_package" / "__init__.py"


def test_the_mark(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert read_mark() is None
    mark = Mark("cpu", "/work/vllm", "0.29.0+tunefork.cpu", "0.29.0+p1.cpu", "l" * 64, {"vllm": "d" * 64})
    write_mark(mark)
    assert read_mark() == mark
    for damage in ("", "{}", '{"target": "cpu"}', "[]"):
        installed.mark_path().write_text(damage)
        assert read_mark() is None
