"""tunefork/patchset/checkout/status.py and the JSON that programs read, through the real command line."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_apply import three_patches
from world import World, applied, git

from tunefork.cli.main import main
from tunefork.patchset.checkout import checkout
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.checkout.status import status


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one command of the CLI on the world; returns what --json printed."""
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))

    def run(*args: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*args, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


def test_apply_json(world: World, command: Any) -> None:
    three_patches(world)
    (found,) = command("apply")["upstreams"]
    assert {"name", "source", "variant", "base_tree", "tree", "patches", "seconds"} <= set(found)
    assert (found["name"], found["source"], found["variant"]) == ("up", "git", "all")
    assert found["base_tree"] == git(world.upstream, "rev-parse", "HEAD^{tree}")
    assert found["tree"] == git(world.checkout, "rev-parse", "HEAD^{tree}") == found["patches"][-1]["tree"]
    assert [set(patch) for patch in found["patches"]] == [{"name", "state", "tree"}] * 3
    assert [patch["state"] for patch in found["patches"]] == ["kept"] * 3 and isinstance(found["seconds"], float)
    (base,) = command("apply", "--variant", "upto:change-line-five")["upstreams"]
    assert [(patch["state"], patch["tree"]) for patch in base["patches"]][1:] == [("left out", None)] * 2


def test_status_json_is_that_of_apply_and_the_work(world: World, command: Any) -> None:
    three_patches(world)
    applied = command("apply")["upstreams"][0]
    (world.checkout / "b.py").write_bytes(b"mine\n")
    (world.checkout / "loose").write_bytes(b"")
    world.commit({"c.py": b"x\n"}, "Mine")
    (found,) = command("status")["upstreams"]
    for key in ("name", "source", "variant", "base_tree", "tree"):
        assert found[key] == applied[key]
    assert [(patch["name"], patch["state"]) for patch in found["patches"]] == [(patch["name"], "applied") for patch in applied["patches"]]
    assert found["work"] == {"modified": ["b.py"], "untracked": ["loose"], "unexported": ["Mine"], "operation": "", "elsewhere": ""}
    assert isinstance(found["seconds"], float) and found["drift"] == [] and found["parked"] is None


def test_before_the_first_apply(world: World, command: Any) -> None:
    (found,) = command("status")["upstreams"]
    assert found["tree"] is None and found["checkouts"] == [] and not world.layout.work.exists()


def test_an_error_is_an_object_too(command: Any) -> None:
    found = command("apply", "nobody", code=2)
    assert found["error"]["kind"] == "BadInput" and found["error"]["remedy"] == "use one of: up"


def test_states_and_drift(world: World) -> None:
    three_patches(world)
    assert status(world.layout, "up").drift == ()
    one = world.series / "change-line-five.patch"
    good = one.read_bytes()
    one.write_bytes(good + b"\n")
    found = status(world.layout, "up")
    assert found.drift == ("change-line-five.patch is not the locked file",) and found.patches[0].state == "changed"
    one.write_bytes(good)
    (world.series / "stray.patch").write_bytes(b"")
    assert status(world.layout, "up").drift == ("stray.patch is in no line of the series",)
    (world.series / "stray.patch").unlink()
    order = world.series / "series"
    order.write_text("\n".join(order.read_text().split()[:2]) + "\n")
    assert status(world.layout, "up").drift[0].startswith("series.lock records change-line-five, change-line-fifty, change-what")
    lock = world.series / "series.lock"
    lock.write_text(lock.read_text() + "<<<<<<< HEAD\n")
    assert "is not a line of a lock" in status(world.layout, "up").drift[0]
    lock.unlink()
    assert status(world.layout, "up").drift[0] == "there is no series.lock"


def test_no_worktree_is_called_unknown_while_somebody_may_be_making_it(world: World) -> None:
    applied(world)
    stray = world.layout.work / "up@stray"
    git(world.checkout, "worktree", "add", "--quiet", "--detach", str(stray))
    assert status(world.layout, "up").drift == (f"nothing knows up@stray any more: move what you need out of it, then: rm -r {stray}",)
    with checkout.locked(world.layout, "up", lambda line: None):
        assert status(world.layout, "up").drift == ()


def older_checkout(world: World, spec: str = "all") -> bytes:
    """What a pull leaves: patch one is newer in patches/ and in the lock, the checkouts hold the one before. Returns the newer file."""
    applied(world)
    world.commit({"one.txt": b"older\n"}, "[Up] One")
    world.commit({"two.txt": b"two\n"}, "[Up] Two")
    export(world.layout, "up")
    old = {path: path.read_bytes() for path in world.series.iterdir()}
    (world.checkout / "one.txt").write_bytes(b"newer\n")
    git(world.checkout, "commit", "--quiet", "--all", "--fixup", "HEAD~1")
    git(world.checkout, "-c", "sequence.editor=true", "rebase", "--quiet", "-i", "--autosquash", "tunefork/base")
    export(world.layout, "up")
    new = {path: path.read_bytes() for path in world.series.iterdir()}
    for path, data in old.items():
        path.write_bytes(data)
    apply(world.layout, "up", "base")
    apply(world.layout, "up", spec, beside=spec != "all")
    for path, data in new.items():
        path.write_bytes(data)
    assert (world.series / "one.patch").read_bytes() != old[world.series / "one.patch"]
    return new[world.series / "one.patch"]


def test_a_checkout_older_than_its_patch_is_stale(world: World, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    older_checkout(world)
    (found,) = command("status")["upstreams"]
    assert [(patch["name"], patch["state"]) for patch in found["patches"]] == [("one", "stale"), ("two", "applied")]
    assert found["drift"] == ["up holds another version of one than patches/, as after a pull; `python3 build.py apply up` repairs it"]
    assert found["patches"][0]["tree"], "the tree that the older version made"
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "stale" in out and "changed" not in out and "drift: up holds another version of one than patches/, as after a pull; `python3 build.py apply up` repairs it" in out
    command("apply", "up")
    (found,) = command("status")["upstreams"]
    assert {patch["state"] for patch in found["patches"]} == {"applied"} and found["drift"] == []
    assert (world.checkout / "one.txt").read_bytes() == b"newer\n"


def test_a_stale_checkout_of_a_variant_beside_is_told_its_own_command(world: World) -> None:
    older_checkout(world, "upto:one")
    assert status(world.layout, "up").drift == (
        "up@upto-one holds another version of one than patches/, as after a pull; `python3 build.py apply up --variant upto:one --beside` repairs it",)
    apply(world.layout, "up", "upto:one", beside=True)
    assert status(world.layout, "up").drift == ()


def test_a_file_that_is_not_the_locked_one_is_changed_not_stale(world: World) -> None:
    newer = older_checkout(world)
    (world.series / "one.patch").write_bytes(newer + b"\n")
    found = status(world.layout, "up")
    assert found.patches[0].state == "changed" and found.drift == ("one.patch is not the locked file",)


def test_an_export_from_a_stale_checkout_claims_nothing_and_keeps_the_newer_file(
    world: World, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = older_checkout(world)
    before = {path: path.read_bytes() for path in world.series.iterdir()}
    (said,) = command("patch", "export", "--dry-run", code=1)["upstreams"]
    assert (said["pulled"], said["remedy"], said["changed"]) == (["one.patch"], "python3 build.py apply up", [])
    assert main(["patch", "export", "--dry-run"]) == 1
    line = capsys.readouterr().out
    assert "files are what the commits say" not in line
    assert "one.patch changed in patches/ since the checkout was applied, and stays as it is; `python3 build.py apply up`" in line
    assert command("patch", "export")["same"] is False, "a real export leaves both where they are"
    assert before == {path: path.read_bytes() for path in world.series.iterdir()}
    assert status(world.layout, "up").patches[0].state == "stale"
    world.commit({"mine.txt": b"mine\n"}, "Mine")
    (said,) = command("patch", "export")["upstreams"]
    assert said["added"] == ["mine.patch"] and said["pulled"] == [], "with something to export the checkout is brought up too"
    assert (world.series / "one.patch").read_bytes() == newer and (world.checkout / "one.txt").read_bytes() == b"newer\n"
    assert command("patch", "export", "--dry-run")["same"] is True


def test_the_pin_moved_on(world: World) -> None:
    three_patches(world)
    (world.upstream / "b.py").write_bytes(b"moved\n")
    git(world.upstream, "commit", "--quiet", "--all", "-m", "Next")
    pins = world.root / "pins.toml"
    old = git(world.checkout, "rev-parse", "tunefork/base")
    pins.write_text(pins.read_text().replace(old, git(world.upstream, "rev-parse", "HEAD")))
    drift = status(world.layout, "up").drift
    assert drift[0].startswith(f"series.lock was made on {old[:12]}, the pin is ") and drift[1].startswith("up is on ")


def test_a_variant_a_pending_patch_and_checkouts_beside(world: World) -> None:
    three_patches(world)
    apply(world.layout, "up", "base", beside=True)
    apply(world.layout, "up", "upto:change-line-five")
    found = status(world.layout, "up")
    assert [patch.state for patch in found.patches] == ["applied", "left out", "left out"]
    assert [(each.path.name, each.variant, each.work.summary()) for each in found.checkouts] == [
        ("up", "upto:change-line-five", "clean"), ("up@base", "base", "clean"),
    ]  # fmt: skip


@pytest.mark.slow
def test_names_that_are_no_text_can_be_shown(world: World, tmp_path: Path) -> None:
    """File names and contents in Latin-1, through a real process whose output is strict UTF-8."""
    applied(world)
    odd = os.fsdecode(b"caf\xe9 \n.py")
    world.commit({odd: b"1\n"}, "Odd")
    export(world.layout, "up")
    (world.checkout / odd).write_bytes(b"mine\n")
    (world.checkout / os.fsdecode(b"loose\xff")).write_bytes(b"")
    environment = {**os.environ, "TUNEFORK_ROOT": str(world.root), "TUNEFORK_CACHE": str(world.layout.cache), "PYTHONIOENCODING": "utf-8:strict"}
    for args, code in ((["status"], 0), (["status", "--json"], 0), (["apply", "--variant", "base"], 3), (["apply", "--variant", "base", "--json"], 3)):
        done = subprocess.run([sys.executable, "-m", "tunefork.cli.main", *args], env=environment, capture_output=True, check=False)
        assert done.returncode == code and b"Traceback" not in done.stderr, done.stderr.decode()
        if code:
            assert done.stderr.startswith(b"error: up has uncommitted changes that this would overwrite: caf\\xe9 \\n.py\n  try: ")
        if "--json" in args:
            json.loads(done.stdout)
    assert (world.checkout / odd).read_bytes() == b"mine\n"


def test_worktrees_that_nothing_knows_are_named_with_what_helps(world: World, command: Any) -> None:
    three_patches(world)
    command("apply", "--variant", "base", "--beside")
    assert main(["patch", "edit", "change-line-five"]) == 0
    assert [line.partition(" ")[0] for line in command("status")["upstreams"][0]["drift"]] == ["an"]  # an edit waits
    shutil.rmtree(world.layout.work / ".edit")
    (world.checkout / ".git" / "tunefork" / "base.json").unlink()
    lines = command("status")["upstreams"][0]["drift"]
    assert [line.split()[2] for line in lines] == ["up@base", "up@edit"]
    for line in lines:
        subprocess.run(shlex.split(line.partition("then: ")[2]), check=True)
    assert command("status")["upstreams"][0]["drift"] == []
    assert main(["patch", "edit", "change-line-five"]) == 0 and main(["apply", "--variant", "base", "--beside"]) == 0
