"""Telemetry from stand-in tools that print what the real ones do; on a machine without any there is none, and nothing fails."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tunefork.bench.machine.telemetry import Sampler, number, read_amd, read_nvidia, read_rocm


def value(number: float, unit: str) -> dict[str, object]:
    return {"value": number, "unit": unit}


AMD = [{"gpu": 0, "usage": {"gfx_activity": value(97, "%")}, "power": {"socket_power": value(1012, "W"), "gfx_voltage": "N/A"},
        "clock": {"gfx_0": {"clk": value(2395, "MHz")}, "mem_0": {"clk": value(2000, "MHz")}},
        "temperature": {"edge": "N/A", "hotspot": value(71, "C"), "mem": value(52, "C")}}]
READ = {"power_w": 1012, "clock_mhz": 2395, "memory_clock_mhz": 2000, "temperature_c": 71, "memory_temperature_c": 52, "busy_percent": 97}


def test_amd_smi_in_both_forms() -> None:
    assert read_amd(json.dumps(AMD)) == read_amd(json.dumps({"gpu_data": AMD})) == {"0": READ}


def test_nvidia_smi() -> None:
    assert read_nvidia("0, 687.12, 1980, 2619, 66, 71, 100\n1, 70.0, 345, 2619, 30, N/A, 0\n")["1"] == {
        "power_w": 70.0, "clock_mhz": 345, "memory_clock_mhz": 2619, "temperature_c": 30, "busy_percent": 0}


def test_rocm_smi() -> None:
    card = {"Temperature (Sensor junction) (C)": "41.0", "Temperature (Sensor memory) (C)": "35.0", "sclk clock speed:": "(132Mhz)",
            "mclk clock speed:": "(900Mhz)", "Current Socket Graphics Package Power (W)": "140.0", "GPU use (%)": "0"}
    assert read_rocm(json.dumps({"card0": card, "system": {}})) == {"0": {
        "power_w": 140.0, "clock_mhz": 132, "memory_clock_mhz": 900, "temperature_c": 41, "memory_temperature_c": 35, "busy_percent": 0}}


@pytest.mark.parametrize(("given", "found"), [(3, 3.0), ("N/A", None), (None, None), ({"value": "N/A"}, None), ("(132Mhz)", 132.0), (True, None)])
def test_numbers(given: object, found: float | None) -> None:
    assert number(given) == found


def tool(folder: Path, name: str, code: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{code}\n")
    (folder / name).chmod(0o755)


def test_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "amd.json").write_text(json.dumps(AMD))
    tool(tmp_path, "amd-smi", f"while read -r line; do echo \"$line\"; done < {tmp_path / 'amd.json'}; cat {tmp_path / 'amd.json'}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    asked_after: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            asked_after.append(timeout)
            return super().wait(0.0)

    with Sampler(_stop=Stop()) as sampler:
        deadline = time.monotonic() + 300
        while len(asked_after) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    summary = sampler.summary()
    assert summary is not None
    assert (summary.tool, summary.gpus["0"]["power_w"]) == ("amd-smi", (1012, 1012, 1012))
    assert summary.samples == len(sampler.readings) >= 3
    assert all(0 <= seconds <= number + 1 for number, seconds in enumerate(asked_after)), "the next whole second, and never one that is past"
    assert [json.loads(json.loads(line)["words"]) for line in (sampler.raw() or b"").splitlines()] == [AMD] * len(sampler.lines)


def test_without_a_tool_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Sampler() as sampler:
        pass
    assert (sampler.summary(), sampler.raw()) == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize("code", ["exit 3", "echo nonsense", "sleep 600"])
def test_a_tool_that_fails_or_hangs_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    tool(tmp_path, "rocm-smi", f"exec {code}" if code.startswith("sleep") else code)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sampler = Sampler()
    with sampler:
        assert sampler._thread is not None
        time.sleep(0.5)
    assert not sampler._thread.is_alive(), "its end was waited for, and came: the tool that sleeps for ten minutes was killed"
    assert sampler.summary() is None
