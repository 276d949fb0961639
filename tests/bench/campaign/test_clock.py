"""Hours by the kernel's clock since boot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunefork.bench.campaign.clock import REAL, DayClock, peek


def test_it_counts_on_also_while_nothing_runs(desk: Any) -> None:
    path, time = desk.folder / "clock.json", desk.time
    first = DayClock(path, time.sources())
    time.pass_(90)
    first.tick()
    time.pass_(30)  # killed here
    assert DayClock(path, time.sources()).used_s() == pytest.approx(120)
    assert peek(path, time.sources()) == pytest.approx(120)


@pytest.mark.parametrize("step", [-1e6, 1e6])
def test_the_wall_clock_may_be_set(desk: Any, step: float) -> None:
    path, time = desk.folder / "clock.json", desk.time
    first = DayClock(path, time.sources())
    time.pass_(60)
    time.wall += step
    assert first.used_s() == pytest.approx(60)
    first.tick()
    time.wall += step
    again = DayClock(path, time.sources())
    assert again.used_s() == pytest.approx(60) and not again.note


@pytest.mark.parametrize(("away", "counted"), [(600, 600), (-600, 0)])
def test_after_a_reboot_the_wall_clock_counts_and_never_backwards(desk: Any, away: float, counted: float) -> None:
    path, time = desk.folder / "clock.json", desk.time
    first = DayClock(path, time.sources())
    time.pass_(60)
    first.tick()
    time.boot, time.since = "second", 5.0
    time.wall += away
    again = DayClock(path, time.sources())
    assert again.used_s() == pytest.approx(60 + counted) and "booted meanwhile" in again.note


def test_a_damaged_file_begins_anew_and_says_so(desk: Any) -> None:
    path = desk.folder / "clock.json"
    path.write_text("{")
    assert "cannot be read" in DayClock(path, desk.time.sources()).note and peek(path) >= 0


@pytest.mark.parametrize(("name", "value"), [("used_s", "NaN"), ("used_s", "-1e9"), ("used_s", "Infinity"), ("wall", "NaN"), ("since_boot", "-Infinity"), ("used_s", "1" + "0" * 400)])
def test_hours_that_no_clock_writes_begin_anew(desk: Any, name: str, value: str) -> None:
    """Of `nan` used hours, or of less than none, the day would never be over."""
    path = desk.folder / "clock.json"
    DayClock(path, desk.time.sources())
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept).replace(f'"{name}": {json.dumps(kept[name])}', f'"{name}": {value}'))
    again = DayClock(path, desk.time.sources())
    assert "cannot be read" in again.note and again.used_s() == pytest.approx(0)


def test_the_real_clock_goes(desk: Any) -> None:
    clock = DayClock(desk.folder / "clock.json", REAL)
    assert clock.used_s() >= 0 and REAL.boot() is not None
