"""Compilers beside each other: cores, memory, and nothing left when the run is ended."""

import os
import resource
import sys
from pathlib import Path

import psutil
import pytest

from tunefork.develop.gfx950.compile_only import schedule
from tunefork.develop.gfx950.compile_only.schedule import Job
from tunefork.develop.machine import GIB

# Each says when it was there: a start and an end in one file, in the order in which they happen.
BODY = "import os, sys, time; f = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT); os.write(f, b'+' + sys.argv[2].encode()); time.sleep(0.3); os.write(f, b'-' + sys.argv[2].encode())"


def jobs(folder, *peaks):
    return [Job(str(at), (sys.executable, "-c", BODY, str(folder / "said"), str(at)), folder / f"{at}.log", peak, seconds=10 - at) for at, peak in enumerate(peaks)]


def most_at_once(said):
    now = most = 0
    for mark in said:
        now += {"+": 1, "-": -1}.get(mark, 0)
        most = max(most, now)
    return most


@pytest.mark.slow
@pytest.mark.parametrize(("peaks", "cores", "memory", "at_once"), [
    ((1, 1, 1), 1, 8, 1), ((1, 1, 1, 1), 2, 8, 2), ((5, 5, 5), 3, 8, 1), ((5, 3, 3), 3, 8, 2), ((99, 1), 2, 8, 1),
])  # fmt: skip
def test_cores_and_memory(tmp_path, peaks, cores, memory, at_once):
    ended = list(schedule.run(jobs(tmp_path, *(peak * GIB for peak in peaks)), cores, memory * GIB))
    assert sorted(one.job.name for one in ended) == [str(at) for at in range(len(peaks))]
    assert most_at_once((tmp_path / "said").read_text()) == at_once


@pytest.mark.slow
def test_the_longest_begins(tmp_path):
    list(schedule.run(list(reversed(jobs(tmp_path, GIB, GIB, GIB))), 1, 8 * GIB))
    assert (tmp_path / "said").read_text() == "+0-0+1-1+2-2"


def test_what_it_used_and_how_it_ended(tmp_path):
    hog = Job("hog", (sys.executable, "-c", "x = bytearray(300 << 20); sum(range(3_000_000)); raise SystemExit(7)"), tmp_path / "hog.log")
    [ended] = schedule.run([hog], 1, GIB)
    # Linux counts to a child what this process had at the most when it began it.
    most = max(2 * GIB, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert ended.code == 7 and 300 << 20 < ended.peak <= most and ended.seconds > 0


@pytest.mark.slow
def test_nothing_is_left_when_the_run_is_ended(tmp_path):
    sleeper = Job("s", ("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 300 & sleep 300"), tmp_path / "s.log", seconds=9)
    waiter = Job("w", ("/bin/sh", "-c", f"while [ ! -s {tmp_path}/pid ]; do sleep 0.05; done"), tmp_path / "w.log")
    run = schedule.run([sleeper, waiter], 2, 8 * GIB)
    assert next(run).job is waiter
    run.close()  # as an exception in the loop's body, or Ctrl-C
    group = int((tmp_path / "pid").read_text())
    assert not [one for one in psutil.pids() if alive_in(one, group)]


def alive_in(pid, session):
    """Whether a process of that session runs."""
    try:
        return os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def test_memory_that_is_free(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable:   2048 kB\n")
    assert schedule.available(tmp_path / "meminfo") == 2 << 20
    assert schedule.available(Path("/nowhere")) > 1 << 40
