"""What the pinned wheel's operators load on this machine: `develop` refuses without it, `doctor` names it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tunefork.develop.cpu.operators import needed
from tunefork.develop.machine import CPU_LIBRARIES, probe

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

OF_TORCH = {"libtorch.so", "libtorch_cpu.so", "libc10.so"}
OF_THE_COMPILER = {"libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2"}


def test_they_load_nothing_else(developed: Path) -> None:
    loaded = set()
    for member in needed(probe().cpu_flags):
        shown = subprocess.run(["readelf", "-dW", str(developed / "work" / "vllm" / member)], capture_output=True, text=True, check=True).stdout
        loaded |= set(re.findall(r"\(NEEDED\).*\[(.*)\]", shown))
    assert loaded > OF_TORCH and loaded - OF_TORCH - OF_THE_COMPILER == set(CPU_LIBRARIES)
