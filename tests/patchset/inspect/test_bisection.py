"""tunefork/patchset/inspect/bisection.py and the command: the culprit is found, what was tried is kept, the checkout comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from world import FILES, World, filled

from tunefork.base.errors import BadInput, TuneforkError
from tunefork.cli import bisect as command
from tunefork.cli.main import main
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.export import export
from tunefork.patchset.inspect import bisection
from tunefork.patchset.inspect.bisection import BAD, GOOD, SKIP, Bisection, Verdict
from tunefork.patchset.rebase.rebase import digest
from tunefork.patchset.series.series import Series

NAMES = ["p1", "p2", "p3", "p4", "p5", "p6", "p7"]


@pytest.fixture
def seven(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Seven patches that each add a file of their own."""

    def fill(world: World) -> None:
        apply(world.layout, "up")
        for name in NAMES:
            world.commit({f"{name}.txt": f"{name}\n".encode()}, f"[Up] {name}")
        export(world.layout, "up")

    filled(world, fill, "seven")
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    return world


def journal(series: Series, folder: Path) -> Bisection:
    return Bisection(folder / "journal.json", digest(series), {}, [])


def series_of(world: World) -> Series:
    return Series.load("up", world.series)


def names_in(spec: str) -> set[str]:
    kind, _, rest = spec.partition(":")
    return set(NAMES if kind == "all" else NAMES[: NAMES.index(rest) + 1] if kind == "upto" else rest.split(",") if kind == "only" else [])


@pytest.mark.slow
@pytest.mark.parametrize("culprit", NAMES)
def test_every_culprit_is_found_in_few_runs(seven: World, tmp_path: Path, culprit: str) -> None:
    ran: list[str] = []

    def run(spec: str) -> Verdict:
        ran.append(spec)
        return Verdict(spec, BAD if culprit in names_in(spec) else GOOD, 0, 0.0)

    found = bisection.bisect(series_of(seven), journal(series_of(seven), tmp_path), run)
    assert found.culprit == culprit and len(ran) == len(set(ran)) <= 2 + 3


def test_skipped_variants_widen_the_answer_honestly(seven: World, tmp_path: Path) -> None:
    def run(spec: str) -> Verdict:
        inside = names_in(spec)
        return Verdict(spec, SKIP if "p3" in inside and "p5" not in inside else BAD if "p4" in inside else GOOD, 0, 0.0)

    found = bisection.bisect(series_of(seven), journal(series_of(seven), tmp_path), run)
    assert found.culprit is None and found.candidates == ("p3", "p4", "p5")


@pytest.mark.parametrize(("together", "needs"), [({"p6"}, ()), ({"p6", "p2"}, ("p2",)), ({"p6", "p2", "p4"}, ("p2", "p4"))])
def test_subsets_find_what_it_takes(seven: World, tmp_path: Path, together: set[str], needs: tuple[str, ...]) -> None:
    def run(spec: str) -> Verdict:
        return Verdict(spec, BAD if together <= names_in(spec) else GOOD, 0, 0.0)

    found = bisection.bisect(series_of(seven), journal(series_of(seven), tmp_path), run, subsets=True)
    assert (found.culprit, found.needs) == ("p6", needs)


def test_ends_that_do_not_differ_are_said(seven: World, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="all is good, not bad"):
        bisection.bisect(series_of(seven), journal(series_of(seven), tmp_path), lambda spec: Verdict(spec, GOOD, 0, 0.0))
    with pytest.raises(BadInput, match="base is bad, not good"):
        bisection.bisect(series_of(seven), journal(series_of(seven), tmp_path), lambda spec: Verdict(spec, BAD, 1, 0.0))
    with pytest.raises(BadInput, match="is not before"):
        bisection.bisect(series_of(seven), journal(series_of(seven), tmp_path), lambda spec: Verdict(spec, BAD, 1, 0.0), good="all", bad="upto:p1")


@pytest.mark.slow
def test_a_stopped_bisection_goes_on_without_trying_again(seven: World, capsys: pytest.CaptureFixture[str]) -> None:
    ran = seven.root / "ran"
    stop = seven.root / "stop"
    stop.touch()
    script = f"echo $TUNEFORK_VARIANT >> {ran}; test $TUNEFORK_VARIANT = upto:p5 -a -e {stop} && exit 200; test ! -e p5.txt"
    apply(seven.layout, "up", "upto:p7")
    assert main(["bisect", "up", "--run", script]) == 1
    assert "ended with 200 on upto:p5" in capsys.readouterr().err
    assert main(["bisect", "up", "--run", "true"]) == 2 and "--continue" in capsys.readouterr().err
    first = ran.read_text().split()
    stop.unlink()
    assert main(["bisect", "up", "--continue", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["culprit"] == "p5" and found["candidates"] == ["p5"]
    again = ran.read_text().split()[len(first):]
    assert not set(first) - {"upto:p5"} & set(again), (first, again)
    assert (seven.checkout / "p7.txt").exists(), "the variant that was there is back"
    assert main(["bisect", "up", "--continue"]) == 2


@pytest.mark.slow
def test_python_in_the_command_is_the_environments(seven: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A caller whose own `python` is another (without torch, say), as where build.py was started by the system's."""
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho No module named torch >&2\nexit 1\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}{os.pathsep}{os.environ['PATH']}")
    script = "python -c 'import os, sys, tunefork; print(sys.prefix); sys.exit(os.path.exists(\"p3.txt\"))'"
    assert main(["bisect", "up", "--run", script, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["culprit"] == "p3"
    assert {Path(each["log"]).read_text().strip() for each in found["verdicts"]} == {sys.prefix}


def test_a_bad_end_points_to_the_log(seven: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bisect", "up", "--run", "echo No module named torch; exit 1"]) == 2
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: base is bad, not good"))
    log = Path(line.rpartition("what it printed: ")[2])
    assert log.read_text() == "No module named torch\n"


def test_help_says_where_the_command_runs_and_with_which_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bisect", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "in work/UPSTREAM, so its relative paths are the upstream's" in said and "`python` in CMD is the one of Tunefork's environment" in said


@pytest.mark.slow
def test_a_changed_series_is_not_gone_on_with(seven: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bisect", "up", "--run", "exit 255"]) == 1
    seven.commit({"p8.txt": b"8\n"}, "[Up] p8")
    export(seven.layout, "up")
    capsys.readouterr()
    assert main(["bisect", "up", "--continue"]) == 2 and "the series of up changed" in capsys.readouterr().err
    assert main(["bisect", "up", "--reset"]) == 0
    assert main(["bisect", "up", "--run", 'case {variant} in *p8*|all) exit 1;; esac']) == 0
    assert "p8 is the first patch" in capsys.readouterr().out


@pytest.mark.slow
def test_patches_that_do_not_go_together_are_skipped(seven: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seven.commit({"a.py": FILES["a.py"].replace(b"line 5\n", b"one\n")}, "[Up] One")
    seven.commit({"a.py": FILES["a.py"].replace(b"line 5\n", b"two\n")}, "[Up] Two")
    export(seven.layout, "up")
    assert main(["bisect", "up", "--run", "! grep -q two a.py", "--subsets", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["culprit"] == "two" and "one" in found["needs"]
    assert [each["verdict"] for each in found["verdicts"] if each["variant"] == "only:two"] == ["skip"]


def test_the_verdict_of_an_ab() -> None:
    assert [command.of_outcome(0, json.dumps({"verdict": said}).encode())[0] for said in ("worse", "better", "no difference", "inconclusive")] == [
        BAD, GOOD, GOOD, SKIP]  # fmt: skip
    with pytest.raises(TuneforkError, match="no verdict"):
        command.of_outcome(9, b'{"error": {}}')


@pytest.mark.slow
def test_after_a_kill_the_variant_of_before_comes_back(seven: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    apply(seven.layout, "up", "without:p7")
    if (child := os.fork()) == 0:  # killed with the checkout on a variant that the bisection chose
        monkeypatch.setattr(command, "ran", lambda layout, name, spec, *_, **__: (apply(layout, name, spec), os.kill(os.getpid(), signal.SIGKILL)))
        main(["bisect", "up", "--run", "test ! -e p4.txt"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    state = Checkout("up", seven.checkout).state()
    assert state is not None and state.variant == "base"
    assert main(["bisect", "up", "--continue"]) == 0 and "p4 is the first patch" in capsys.readouterr().out
    state = Checkout("up", seven.checkout).state()
    assert state is not None and state.variant == "without:p7"


@pytest.mark.slow
def test_a_dirty_checkout_names_what_can_be_typed_and_blocks_nothing(seven: World, capsys: pytest.CaptureFixture[str]) -> None:
    (seven.checkout / "p3.txt").write_bytes(b"mine\n")
    script = "test ! -e p3.txt"
    assert main(["bisect", "up", "--run", script]) == 3
    said = capsys.readouterr().err
    assert "or python3 build.py apply up --discard" in said and "add --discard" not in said
    assert main(["bisect", "up", "--run", script]) == 3, "the same refusal: no bisection waits"
    assert main(["apply", "up", "--discard"]) == 0
    assert main(["bisect", "up", "--run", script]) == 0


@pytest.mark.slow
def test_what_was_never_begun_does_not_wait(seven: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bisect", "up", "--run", "true", "--good", "upto:nobody"]) == 2
    assert main(["bisect", "up", "--run", "test ! -e p3.txt"]) == 0


def test_a_reset_says_whether_something_waited(seven: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bisect", "up", "--run", "exit 200"]) == 1
    capsys.readouterr()
    assert main(["bisect", "up", "--reset"]) == 0 and "the bisection that waited is forgotten" in capsys.readouterr().err
    assert main(["bisect", "up", "--reset"]) == 0 and "no bisection waits" in capsys.readouterr().err
def started(world: World, *words: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    environment = {**os.environ, "TUNEFORK_ROOT": str(world.root), "TUNEFORK_CACHE": str(world.layout.cache)}
    return subprocess.Popen([sys.executable, "-m", "tunefork.cli.main", *words], cwd=Path(__file__).parents[3], env=environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_bisection_leaves_no_command_and_a_way_back(seven: World, tmp_path: Path, number: signal.Signals) -> None:
    apply(seven.layout, "up", "without:p7")
    pid = tmp_path / "pid"
    child = started(seven, "bisect", "up", "--run", f"test -e p7.txt && exit 1; test ! -e p4.txt && exit 0; echo $$ > {pid}; exec sleep 600")
    while not (pid.exists() and pid.read_text().strip()):
        assert child.poll() is None
        time.sleep(0.05)
    command_itself = psutil.Process(int(pid.read_text()))
    child.send_signal(number)
    assert child.wait() == -number
    psutil.wait_procs([command_itself], timeout=60)
    assert not command_itself.is_running()
    state = Checkout("up", seven.checkout).state()
    assert state is not None and (state.variant == "without:p7") == (number == signal.SIGTERM)  # after SIGKILL nobody could bring it back yet
    assert main(["bisect", "up", "--reset"]) == 0
    state = Checkout("up", seven.checkout).state()
    assert state is not None and state.variant == "without:p7"
    assert main(["bisect", "up", "--continue"]) == 2  # none waits


def test_a_damaged_journal_is_reset(seven: World) -> None:
    file = command.Bisection.at(seven.layout, "up")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{")
    assert main(["bisect", "up", "--reset"]) == 0 and not file.exists()
