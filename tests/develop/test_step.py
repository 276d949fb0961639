"""Steps: what is shown is what runs."""

import pytest

from tunefork.base.errors import BuildError
from tunefork.develop.step import Heartbeat, Step, run_steps


def test_a_step_writes_removes_runs_and_acts_in_this_order(tmp_path):
    (tmp_path / "old.so").touch()
    (tmp_path / "build").mkdir()
    seen = []
    step = Step(
        "title",
        "why",
        tmp_path,
        argv=("sh", "-c", 'ls; echo "$GREETING ${GONE-unset}"; cat list.txt'),
        env={"GREETING": "good day", "GONE": ""},
        writes={str(tmp_path / "list.txt"): "one\n"},
        removes=("*.so", "build", "absent*"),
        action=lambda: seen.append(sorted(path.name for path in tmp_path.iterdir())),
    )
    lines = []
    run_steps([step], log=tmp_path / "log" / "run.log", say=lines.append)
    assert lines == ["[1/1] title"]
    assert seen == [["list.txt", "log"]]
    log = (tmp_path / "log" / "run.log").read_text()
    assert "list.txt\nlog\ngood day unset\none\n" in log


def test_the_shown_command_can_be_pasted(tmp_path):
    step = Step("t", "w", tmp_path, argv=("pip", "install", "a b"), env={"ARCHS": "gfx942;gfx950", "GONE": ""}, removes=("build",))
    assert step.command == "rm -rf build\nenv -u GONE ARCHS='gfx942;gfx950' pip install 'a b'"
    assert step.described() == {
        "title": "t", "why": "w", "cwd": str(tmp_path), "writes": {}, "removes": ["build"], "argv": ["pip", "install", "a b"],
        "env": {"ARCHS": "gfx942;gfx950", "GONE": ""},
    }  # fmt: skip


def test_the_first_failure_stops_the_rest(tmp_path):
    ran = []
    steps = [
        Step("one", "", tmp_path, argv=("sh", "-c", "echo last words; exit 3")),
        Step("two", "", tmp_path, action=lambda: ran.append(2)),
    ]
    with pytest.raises(BuildError, match=r"exit code 3:\n\s+last words"):
        run_steps(steps, log=tmp_path / "log")
    assert ran == []


def test_a_heartbeat_is_rare_and_tells_progress(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("tunefork.develop.step.time.monotonic", lambda: clock[0])
    lines = []
    beat = Heartbeat(lines.append, every=10)
    for second in range(25):
        clock[0] = float(second)
        beat(f"[{second}/25] Building HIP object {second}")
        beat("warning: noise")
    assert [line.split("]")[0].strip() for line in lines] == ["[10/25", "[20/25"]
