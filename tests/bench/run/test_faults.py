"""What goes wrong while measuring leaves a truthful record, no process, and a batch that can go on.

server dies mid-run         test_the_server_dies_and_the_rest_gets_a_new_one_behind_the_gate; A/B: ab/test_run.py
port taken                  test_a_taken_port_is_said_and_nothing_is_measured; serving/test_server.py
GPU memory not freed        test_gpu_memory.py
client hangs                test_a_client_that_hangs_is_ended_at_its_deadline; the builtin one: load/test_client_builtin.py
disk full                   test_a_full_disk_is_17_and_no_claim, test_a_disk_that_really_is_full; run/test_run.py, records/test_store.py
kill -9 of the tool         test_killed_leaves_no_process_and_resume_goes_on; A/B: ab/test_run.py; while submitting: submit/test_submit.py
clock jump                  test_a_clock_that_is_set_while_measuring; test_measure.py; a record of the future: submit/test_submit.py
corrupt record              test_resume_believes_nothing_that_does_not_hold; records/test_store.py, test_query.py, report/test_page.py
another measurement         test_a_run_waits_for_what_is_being_measured; A/B: ab/test_run.py; on one GPU: spread/test_spread.py

That no process is left is asserted after every test here (conftest.world).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tunefork.bench.machine import devices

pytestmark = pytest.mark.slow

SMOKE = ("--profile", "smoke")


def until(found, what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


def states(batch: Path) -> dict[int, str]:
    return {entry["conc"]: entry["status"] for entry in json.loads((batch / "batch.json").read_text())["entries"]}


def test_the_server_dies_and_the_rest_gets_a_new_one_behind_the_gate(world) -> None:
    world.fake = {"client": {"2": "kills-server"}}
    done = world.run(*SMOKE, "--conc", "1", "--conc", "2", "--conc", "4")
    assert done.code == 12, done.err
    assert done.statuses == {1: "passed", 2: "failed", 4: "passed"}
    assert "the server ended by itself (exit code 7)" in done.json["configurations"][1]["problem"]
    assert world.calls == ["serve", "lm_eval tiny_stories", "client 1", "client 2", "serve", "lm_eval tiny_stories", "client 4"]
    assert [record.problems[0].kind for record in world.records if record.problems] == ["server-died"]
    assert len({record.trial for record in world.records}) == 2, "two server starts"


def test_a_taken_port_is_said_and_nothing_is_measured(world) -> None:
    with socket.create_server(("127.0.0.1", world.port)):
        done = world.run(*SMOKE)
    assert done.code == 9
    assert f"port {world.port} on 127.0.0.1 is taken by pid {os.getpid()}" in done.err
    assert done.statuses == {1: "skipped", 4: "skipped"}
    assert world.records == []


def test_a_client_that_hangs_is_ended_at_its_deadline(world) -> None:
    world.fake = {"client": {"1": "hangs"}}
    done = world.run(*SMOKE, "--client-timeout", "2")
    assert done.code == 12
    assert done.statuses == {1: "failed", 4: "passed"}
    assert world.records[0].problems[0].kind == "client-hangs"
    assert "did not end within" in world.records[0].problems[0].message


def test_killed_leaves_no_process_and_resume_goes_on(world) -> None:
    world.fake = {"client": {"4": "hangs"}}
    process = world.start("run", "--json", *SMOKE, "--port", str(world.port))
    until(lambda: "client 4" in world.calls, "the second CONC")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    batch, = world.batches
    assert states(batch) == {1: "passed", 4: "running"}

    def gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", world.port)) != 0
    until(gone, "the end of the server")
    before = len(world.calls)
    world.fake = {}
    done = world.run("--resume", str(batch))
    assert done.code == 0, done.err
    assert done.statuses == {1: "passed", 4: "passed"}
    assert world.calls[before:] == ["serve", "lm_eval tiny_stories", "client 4"], "the first CONC is believed"
    assert "CONC 4 is measured again: the tool ended while it ran" in done.err


def test_stopped_by_a_signal(world) -> None:
    world.fake = {"client": {"1": "hangs"}}
    process = world.start("run", "--json", *SMOKE, "--port", str(world.port))
    until(lambda: "client 1" in world.calls, "the first CONC")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    record, = world.records
    assert record.status == "interrupted"
    assert states(world.batches[0]) == {1: "interrupted", 4: "pending"}
    entry, = (one for one in json.loads((world.batches[0] / "batch.json").read_text())["entries"] if one["conc"] == 1)
    assert (entry["record"], entry["problem"]) == (record.id, "stopped by a signal")
    assert "1 interrupted" in (world.batches[0] / "summary.txt").read_text()
    world.fake = {}
    done = world.run("--resume", str(world.batches[0]))
    assert (done.code, done.statuses) == (0, {1: "passed", 4: "passed"}), done.err
    assert done.json["configurations"][0]["record"] != record.id, "the interrupted record stays what it was"


def test_resume_believes_nothing_that_does_not_hold(world) -> None:
    first = world.run(*SMOKE, *(word for conc in "12345" for word in ("--conc", conc)))
    assert first.code == 0, first.err
    batch, = world.batches
    folders = {one["conc"]: world.store.path(one["record"]) for one in first.json["configurations"]}
    for path in (folders[1] / "record.json", folders[2] / "client.json.gz"):
        path.write_bytes(path.read_bytes()[:-20])
    result = batch / "result_isl64_osl32_conc3.json"
    result.write_text(result.read_text().replace('"tput_per_gpu": ', '"tput_per_gpu": 1'))
    (batch / "result_isl64_osl32_conc4.json").unlink()
    before = len(world.calls)
    done = world.run("--resume", str(batch))
    assert done.code == 0, done.err
    assert world.calls[before:] == ["serve", "lm_eval tiny_stories", "client 1", "client 2", "client 3", "client 4"]
    for conc, says in ((1, "record.json is not what its manifest says"), (2, "client.json.gz is not what its manifest says"),
                       (3, "does not say what record"), (4, "FileNotFoundError")):
        assert any(f"CONC {conc} is measured again" in line and says in line for line in done.err.splitlines()), done.err
    assert done.json["configurations"][4]["record"] == first.json["configurations"][4]["record"]


def test_resume_mixes_no_two_trees(world) -> None:
    assert world.run(*SMOKE, "--conc", "2").code == 0
    before = len(world.calls)
    world.tree = "e" * 40
    done = world.run("--resume", str(world.batches[0]))
    assert done.code == 2
    assert "measured the vLLM tree cccccccccccc; what would be measured now is the tree eeeeeeeeeeee" in done.err
    assert world.calls[before:] == []


def test_a_whole_batch_resumed_starts_nothing(world) -> None:
    assert world.run(*SMOKE, "--conc", "2").code == 0
    before = len(world.calls)
    done = world.run("--resume", str(world.batches[0]))
    assert (done.code, done.statuses, world.calls[before:]) == (0, {2: "passed"}, [])
    assert done.json["accuracy"]["status"] == "passed"


def test_resume_takes_no_other_settings(world) -> None:
    assert world.run(*SMOKE, "--conc", "2").code == 0
    done = world.run("--resume", str(world.batches[0]), "--conc", "8")
    assert done.code == 2
    assert "--conc would change them" in done.err


def test_a_full_disk_is_17_and_no_claim(world) -> None:
    """A record store that cannot be written stands for the full disk; what was measured is not called passed."""
    (world.root / "work").mkdir()
    (world.root / "work" / "records").write_text("not a folder")
    done = world.run(*SMOKE)
    assert done.code == 17
    assert "cannot write record" in done.err
    assert done.statuses == {1: "failed", 4: "skipped"}
    assert not list(world.batches[0].glob("result_*"))


def test_a_disk_that_really_is_full(world, tmp_path_factory) -> None:
    """A file system of 256 KiB holds the records: the first write past its end is the kernel's ENOSPC. Needs root for the mount."""
    if shutil.which("mount") is None:
        pytest.skip("NOT TESTED: no mount on PATH")
    store = world.root / "work" / "records"
    store.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(store)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a full disk cannot be made here: {mounted.stderr.strip()} (mounting needs root)")
    try:
        (store / "filler").write_bytes(bytes(250 * 1024))
        full = world.run(*SMOKE)
        assert full.code == 17, full.err
        assert "No space left on device" in full.err
        assert full.statuses == {1: "failed", 4: "skipped"}
        assert sorted(path.name for path in store.iterdir()) == ["filler"], "nothing half-written"
        assert not list(world.batches[0].glob("result_*"))
        (store / "filler").unlink()
        done = world.run("--resume", str(world.batches[0]))
        assert (done.code, done.statuses) == (0, {1: "passed", 4: "passed"}), done.err
    finally:
        subprocess.run(["umount", str(store)], check=True)


def test_a_clock_that_is_set_while_measuring(world) -> None:
    """The wall clock goes back a day at every look: names stay apart, durations are those of the monotonic clock, and resume holds."""
    world.env["FAKE_CLOCK"] = "-86400"
    done = world.run(*SMOKE)
    assert (done.code, done.statuses) == (0, {1: "passed", 4: "passed"}), done.err
    first, second = world.records
    assert first.id != second.id and first.created != second.created
    assert all(record.timing is not None and 0 <= record.timing.client_s < 60 for record in (first, second))
    again = world.run("--resume", str(world.batches[0]))
    assert (again.code, again.statuses) == (0, {1: "passed", 4: "passed"}), again.err


def test_a_run_waits_for_what_is_being_measured(world) -> None:
    said: list[str] = []
    with devices.machine(world.root / "cache", said.append):
        process = world.start("run", "--json", *SMOKE, "--port", str(world.port))
        assert process.stderr is not None
        for line in process.stderr:
            if devices.WAITING in line:
                break
        assert world.calls == [], "no server is started beside a measurement"
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
