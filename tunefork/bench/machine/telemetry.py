"""Power, clocks and temperature at 1 Hz while a trial runs, from the first of amd-smi, nvidia-smi and rocm-smi that answers.

It only reads, and never changes a setting. Each answer is kept word for word; the summary takes what it understands of it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tunefork.base import jsons
from tunefork.bench.records.schema import Telemetry

PERIOD_S = 1.0
ASK_TIMEOUT_S = 10.0
Reading = dict[str, dict[str, float]]
"""GPU -> quantity -> value; quantities are power_w, clock_mhz, memory_clock_mhz, temperature_c, memory_temperature_c, busy_percent."""


def number(value: Any) -> float | None:
    """A number out of 12, "12", "(132Mhz)" or {"value": 12, "unit": "W"}; None for "N/A"."""
    if isinstance(value, dict):
        return number(value.get("value"))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = re.search(r"-?\d+(\.\d+)?", value) if isinstance(value, str) else None
    return float(found[0]) if found else None


def known(values: dict[str, Any]) -> dict[str, float]:
    """The quantities that have a number."""
    found = {name: number(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not None}


def read_amd(text: str) -> Reading:
    """`amd-smi metric --json`: a list of GPUs, in later releases under "gpu_data"."""
    data = jsons.loads(text)
    listed = data.get("gpu_data", []) if isinstance(data, dict) else data

    def clock(gpu: dict[str, Any], name: str) -> Any:
        return gpu.get("clock", {}).get(name, {}).get("clk")

    return {str(gpu["gpu"]): known({
        "power_w": gpu.get("power", {}).get("socket_power"),
        "clock_mhz": clock(gpu, "gfx_0"),
        "memory_clock_mhz": clock(gpu, "mem_0"),
        "temperature_c": gpu.get("temperature", {}).get("hotspot"),
        "memory_temperature_c": gpu.get("temperature", {}).get("mem"),
        "busy_percent": gpu.get("usage", {}).get("gfx_activity"),
    }) for gpu in listed}


def read_nvidia(text: str) -> Reading:
    """The columns that NVIDIA asks for, as CSV."""
    names = ("power_w", "clock_mhz", "memory_clock_mhz", "temperature_c", "memory_temperature_c", "busy_percent")
    return {row[0].strip(): known(dict(zip(names, row[1:], strict=True))) for row in csv.reader(text.splitlines()) if row}


def read_rocm(text: str) -> Reading:
    """`rocm-smi --json`: cards with keys in words."""
    def find(card: dict[str, Any], *patterns: str) -> Any:
        return next((value for pattern in patterns for key, value in card.items() if re.search(pattern, key)), None)

    return {name.removeprefix("card"): known({
        "power_w": find(card, r"Socket.*Power", r"Package Power"),
        "clock_mhz": find(card, r"^sclk clock speed"),
        "memory_clock_mhz": find(card, r"^mclk clock speed"),
        "temperature_c": find(card, r"Temperature \(Sensor junction\)"),
        "memory_temperature_c": find(card, r"Temperature \(Sensor memory\)"),
        "busy_percent": find(card, r"^GPU use"),
    }) for name, card in jsons.loads(text).items() if name.startswith("card")}


TOOLS: dict[str, tuple[tuple[str, ...], Callable[[str], Reading]]] = {
    "amd-smi": (("metric", "--power", "--clock", "--temperature", "--usage", "--json"), read_amd),
    "nvidia-smi": (("--query-gpu=index,power.draw,clocks.sm,clocks.mem,temperature.gpu,temperature.memory,utilization.gpu",
                    "--format=csv,noheader,nounits"), read_nvidia),
    "rocm-smi": (("--showpower", "--showclocks", "--showtemp", "--showuse", "--json"), read_rocm),
}


@dataclass
class Sampler:
    """Asks once a second, from ``with`` to its end. lines: (seconds since the start, the tool's words)."""

    tool: str | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Sampler:
        self.tool = next((name for name in TOOLS if shutil.which(name)), None)
        if self.tool:
            self._thread = threading.Thread(target=self._sample, name="telemetry", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
        if self._thread is not None:
            self._thread.join(timeout=ASK_TIMEOUT_S)

    def _sample(self) -> None:
        started = time.monotonic()
        tick = 0
        while not self._stop.is_set():
            words = self._ask()
            if words is not None:
                self.lines.append((time.monotonic() - started, words))
            # The next whole second that is still to come: a slow tool is asked less often, never twice at once.
            tick = max(tick + 1, int(time.monotonic() - started) + 1)
            self._stop.wait(max(0.0, started + tick * PERIOD_S - time.monotonic()))

    def _ask(self) -> str | None:
        assert self.tool is not None
        arguments, read = TOOLS[self.tool]
        try:
            self._child = subprocess.Popen([self.tool, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=subprocess.DEVNULL, text=True)
            words, _ = self._child.communicate(timeout=ASK_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired, ValueError):
            if self._child is not None:
                self._child.kill()
                self._child.wait()
            return None
        # What cannot be read is kept word for word all the same.
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            self.readings.append(read(words))
        return words or None

    def summary(self) -> Telemetry | None:
        """Median, least and greatest per GPU and quantity; None where no tool answered."""
        if self.tool is None or not self.readings:
            return None
        series: dict[str, dict[str, list[float]]] = {}
        for reading in self.readings:
            for gpu, values in reading.items():
                for name, value in values.items():
                    series.setdefault(gpu, {}).setdefault(name, []).append(value)
        return Telemetry(tool=self.tool, samples=len(self.readings), gpus={
            gpu: {name: (statistics.median(values), min(values), max(values)) for name, values in named.items()}
            for gpu, named in series.items()})

    def raw(self) -> bytes | None:
        """Every answer, one JSON object a line."""
        return "".join(json.dumps({"t_s": round(at, 3), "words": words}) + "\n" for at, words in self.lines).encode() or None
