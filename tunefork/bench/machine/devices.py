"""Which GPUs a measurement has, and the locks that keep two measurements of this user off one GPU.

A measurement that has the machine to itself takes ``machine``. One of several that run beside each other (bench/machine/spread.py) takes ``beside``:
its own GPUs for itself, the machine shared, so that neither kind starts while the other runs. The locks are the kernel's: a killed
process never leaves one held. Their names hold the host's, since a cache may lie on a disk that several hosts share.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tunefork.base.mutex import locked
from tunefork.base.process import Say
from tunefork.bench.machine import host

GIVEN = "TUNEFORK_GPUS"
"""Set by bench/machine/spread.py for what it starts: the GPUs that are its own, as this host counts them."""
WAITING = "waiting for another measurement on this machine to end"


def visible(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs that a process started now would see, as this host counts them; () where there is none.

    ROCR_VISIBLE_DEVICES chooses first, HIP_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES among what it leaves.
    """
    if GIVEN in environment:
        return names(environment[GIVEN])
    left = names(environment.get("ROCR_VISIBLE_DEVICES")) or tuple(str(number) for number in range(len(host.host().gpus)))
    for variable in ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        chosen = names(environment.get(variable))
        if chosen:
            return tuple(left[int(one)] if one.isdigit() and int(one) < len(left) else one for one in chosen)
    return left


def names(text: str | None) -> tuple[str, ...]:
    """The entries of a comma-separated list."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def variables(gpus: Sequence[str]) -> dict[str, str]:
    """What makes a program see these GPUs (host's count) and no other; both names, which vLLM wants to agree."""
    chosen = ",".join(gpus)
    return {"HIP_VISIBLE_DEVICES": chosen, "CUDA_VISIBLE_DEVICES": chosen, GIVEN: chosen}


@contextmanager
def machine(cache: Path, say: Say) -> Iterator[None]:
    """This machine for one measurement alone."""
    with locked(_path(cache, "trial"), say, WAITING):
        yield


@contextmanager
def beside(cache: Path, gpus: Sequence[str], say: Say) -> Iterator[None]:
    """These GPUs for one measurement alone, the machine shared with those on others."""
    with ExitStack() as stack:
        stack.enter_context(locked(_path(cache, "trial"), say, WAITING, shared=True))
        for gpu in sorted(gpus):  # one order for all, so that no two wait for each other
            stack.enter_context(locked(_path(cache, f"gpu-{gpu}"), say, f"waiting for another measurement on GPU {gpu} to end"))
        yield


def _path(cache: Path, what: str) -> Path:
    return cache / re.sub(r"[^A-Za-z0-9._-]+", "-", f"{what}-{platform.node()}.lock")
