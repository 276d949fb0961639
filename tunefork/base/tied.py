"""A pool's worker that ends with the process that it works for."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait

PR_SET_PDEATHSIG = 1


def tied() -> None:
    """The initializer of every ProcessPoolExecutor of ours: SIGKILL when the owner dies, however.

    A worker waits on a pipe that it can write to itself, so it would never hear that nobody is there any more. Two ways: the kernel tells when the
    parent dies, which of a fork is the owner (its siblings hold the pipe that would tell); of a fork server it is not, and there the pipe tells.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if owner := multiprocessing.parent_process():
        threading.Thread(target=end_after, args=(owner.sentinel,), daemon=True).start()


def end_after(sentinel: int) -> None:
    """End this process when the one at the other end of a pipe has ended."""
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def tied_to_a_core() -> None:
    """`tied`, for workers that compute: one thread each. Before numpy or torch is imported, whose threads of several workers wait for each other's."""
    os.environ["OMP_NUM_THREADS"] = "1"
    tied()
