"""Memory in use on the GPUs: free before a server starts, released after it has stopped.

A server killed in a driver call can leave its memory taken with no process to show for it. The next one would start with a smaller cache, or
not at all, and its numbers would say nothing of why. Read from the first of amd-smi, nvidia-smi and rocm-smi that answers; on a machine
without any of them nothing is known and nothing is claimed.
"""

from __future__ import annotations

import csv
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tunefork.base import jsons
from tunefork.base.errors import BadInput, ServeError
from tunefork.base.process import Say
from tunefork.bench.machine.host import ask
from tunefork.bench.machine.telemetry import number

BUSY_SHARE = 0.05
"""Of a GPU's memory: more than this in use before the start is somebody's. Profiles leave vLLM 95 %."""


def seconds(text: str) -> float:
    """TUNEFORK_RELEASE_S. Errors: BadInput for what is no time that anyone waits: of `nan` and `inf` the end never comes."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 3600:
        raise BadInput(f"TUNEFORK_RELEASE_S={text}: expected seconds, 0 to 3600", "unset TUNEFORK_RELEASE_S (it is 30 then)")
    return found


RELEASE_S = seconds(os.environ.get("TUNEFORK_RELEASE_S", "30"))
"""A driver may take some seconds to give a dead process' memory back."""
POLL_S = 0.5
UNITS = {"B": 2.0**-20, "KB": 2.0**-10, "KIB": 2.0**-10, "MB": 1.0, "MIB": 1.0, "GB": 2.0**10, "GIB": 2.0**10}


@dataclass(frozen=True)
class Memory:
    """One GPU's memory in MiB."""

    used: float
    total: float

    @property
    def busy(self) -> bool:
        return self.used > BUSY_SHARE * self.total


Reading = dict[str, Memory]
"""By the GPU's number on this host."""


def mib(value: Any) -> float:
    """MiB out of {"value": 285, "unit": "MB"} (amd-smi's MB are MiB), or a plain number of MB; KeyError where there is no number."""
    found = number(value)
    if found is None:
        raise KeyError(value)
    return found * UNITS[str(value.get("unit", "MB")).upper() if isinstance(value, dict) else "MB"]


def read_amd(text: str) -> Reading:
    """`amd-smi metric --mem-usage --json`: a list of GPUs, in later releases under "gpu_data"."""
    data = jsons.loads(text)
    listed = data.get("gpu_data", []) if isinstance(data, dict) else data
    return {str(gpu["gpu"]): Memory(mib(gpu["mem_usage"]["used_vram"]), mib(gpu["mem_usage"]["total_vram"])) for gpu in listed}


def read_nvidia(text: str) -> Reading:
    """index, used, total in MiB as CSV."""
    return {row[0].strip(): Memory(float(row[1]), float(row[2])) for row in csv.reader(text.splitlines()) if row}


def read_rocm(text: str) -> Reading:
    """`rocm-smi --showmeminfo vram --json`: bytes by card."""
    return {name.removeprefix("card"): Memory(float(card["VRAM Total Used Memory (B)"]) / 2**20, float(card["VRAM Total Memory (B)"]) / 2**20)
            for name, card in jsons.loads(text).items() if re.fullmatch(r"card\d+", name)}


TOOLS: dict[str, tuple[tuple[str, ...], Callable[[str], Reading]]] = {
    "amd-smi": (("metric", "--mem-usage", "--json"), read_amd),
    "nvidia-smi": (("--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits"), read_nvidia),
    "rocm-smi": (("--showmeminfo", "vram", "--json"), read_rocm),
}


def reading(gpus: Sequence[str]) -> Reading:
    """The memory of these GPUs, as far as a tool tells."""
    for name, (arguments, read) in TOOLS.items():
        if shutil.which(name) is None:
            continue
        try:
            found = read(ask(name, *arguments))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            continue
        return {gpu: memory for gpu, memory in found.items() if gpu in gpus}
    return {}


def require_free(gpus: Sequence[str], holders: Callable[[], str], say: Say) -> Reading:
    """Wait a little for memory that is just being released, then ServeError names the GPU that stays busy. Returns what is in use now.

    holders: who computes on these GPUs, in words, "" where nobody is known.
    """
    deadline = time.monotonic() + RELEASE_S
    told = False
    while True:
        now = reading(gpus)
        busy = [gpu for gpu, memory in now.items() if memory.busy]
        if not busy:
            return now
        if time.monotonic() > deadline:
            raise ServeError(f"{said(busy[0], now)} is in use before the server starts (by {holders() or 'no process that can be seen'}): "
                             "nothing measured there would be this server's own",
                             "stop what holds it, or choose other GPUs with HIP_VISIBLE_DEVICES")
        if not told:
            say(f"waiting for {said(busy[0], now)} to be released")
            told = True
        time.sleep(POLL_S)


def require_released(gpus: Sequence[str], before: Reading, holders: Callable[[], str]) -> None:
    """ServeError where a stopped server's memory has not come back: what it measured stands, the next server must not start there."""
    deadline = time.monotonic() + RELEASE_S
    while True:
        now = reading(gpus)
        kept = [gpu for gpu, memory in now.items()
                if memory.busy and gpu in before and memory.used - before[gpu].used > BUSY_SHARE * memory.total]
        if not kept:
            return
        if time.monotonic() > deadline:
            raise ServeError(f"the server is gone, but {said(kept[0], now)} is still in use, {now[kept[0]].used - before[kept[0]].used:.0f} MiB "
                             f"more than before it started (by {holders() or 'no process that can be seen'})",
                             "what was measured stands; `amd-smi process` or `dmesg` may tell more, then go on with --resume")
        time.sleep(POLL_S)


def said(gpu: str, now: Reading) -> str:
    """A GPU's memory in words."""
    return f"{now[gpu].used:.0f} of {now[gpu].total:.0f} MiB of GPU {gpu}"
