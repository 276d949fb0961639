"""Runs compilers beside each other as cores and memory allow: the longest first, and one that is larger than the memory alone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base.process import end_session, terminated_by_exception
from tunefork.develop.machine import GIB, memory

UNKNOWN_PEAK = 2 * GIB  # what most files stay below; skinny_gemms takes 5.8
POLL_S = 0.02


@dataclass(frozen=True)
class Job:
    """One compiler to run. peak: bytes that it is thought to take.  seconds: and how long.  log: where what it says goes."""

    name: str
    argv: tuple[str, ...]
    log: Path
    peak: int = UNKNOWN_PEAK
    seconds: float = 0.0


@dataclass(frozen=True)
class Ended:
    """A compiler's end. seconds: CPU time, user and system.  wall: seconds.  peak: bytes of memory, at most, of one of its processes."""

    job: Job
    code: int
    seconds: float
    wall: float
    peak: int


@dataclass
class Running:
    job: Job
    child: subprocess.Popen[bytes]
    since: float


def available(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes of memory that programs can take now; a large number where nobody says."""
    return memory(meminfo, "MemAvailable") or 1 << 50


def run(jobs: Sequence[Job], cores: int, memory: int) -> Iterator[Ended]:
    """Run all jobs and yield each as it ends. cores, memory: at once. Whatever ends the loop early ends every compiler."""
    waiting = sorted(jobs, key=lambda job: (-job.seconds, -job.peak, job.name))
    running: list[Running] = []

    def fill() -> None:
        while (job := next_job(waiting, running, cores, memory)) is not None:
            waiting.remove(job)
            running.append(start(job))

    with terminated_by_exception():
        try:
            while waiting or running:
                fill()
                time.sleep(POLL_S)
                for one in list(running):
                    if (ended := finished(one)) is not None:
                        running.remove(one)
                        fill()  # the caller may take a while over this end
                        yield ended
        finally:
            for one in running:
                end_session(one.child)


def next_job(waiting: Sequence[Job], running: Sequence[Running], cores: int, memory: int) -> Job | None:
    """The first waiting job for which there is a core and memory; any where nothing runs."""
    if len(running) >= cores:
        return None
    free = memory - sum(one.job.peak for one in running)
    return next((job for job in waiting if job.peak <= free or not running), None)


def start(job: Job) -> Running:
    with job.log.open("wb") as sink:
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": sink, "stderr": subprocess.STDOUT, "start_new_session": True}
        return Running(job, subprocess.Popen(job.argv, **options), time.monotonic())


def finished(one: Running) -> Ended | None:
    """How a compiler ended, with what it used; None while it runs."""
    pid, status, used = os.wait4(one.child.pid, os.WNOHANG)
    if pid == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    one.child.returncode = code
    return Ended(one.job, code, used.ru_utime + used.ru_stime, time.monotonic() - one.since, used.ru_maxrss * 1024)
