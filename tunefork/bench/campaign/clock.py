"""How much of the day is used: by the kernel's clock since boot, so that a wall clock that is set, back or forth, changes nothing.

The hours are those on a machine: they pass also while ``campaign run`` does not. After a reboot the kernel's clock begins anew; then the wall clock
says how long the machine was away, a step back counts as nothing, and ``note`` says so.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunefork.base import jsons
from tunefork.base.boot import boot_id
from tunefork.base.files import write_atomically


@dataclass(frozen=True)
class Sources:
    """boot: which boot of the machine this is.  since_boot, wall: seconds."""

    boot: Callable[[], str]
    since_boot: Callable[[], float]
    wall: Callable[[], float]


def since_boot() -> float:
    """Seconds, a suspended machine's too where the kernel counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


REAL = Sources(boot_id, since_boot, time.time)


class DayClock:
    """The clock of one campaign, kept in a file. note: what is to be known of how it counted, "" where nothing."""

    def __init__(self, path: Path, sources: Sources = REAL) -> None:
        self.path, self.sources = path, sources
        self.began = sources.since_boot()
        self.before_s, self.note = resumed(path, sources, self.began)
        self.tick()

    def used_s(self) -> float:
        """Seconds of the day that are gone."""
        return self.before_s + self.sources.since_boot() - self.began

    def tick(self) -> None:
        """Keep where we are."""
        kept = {"boot": self.sources.boot(), "since_boot": self.sources.since_boot(), "wall": self.sources.wall(), "used_s": self.used_s()}
        write_atomically(self.path, json.dumps(kept).encode())


def resumed(path: Path, sources: Sources, now: float) -> tuple[float, str]:
    """(seconds used until now, what is to be known of how they were counted). now: since boot."""
    try:
        kept = jsons.loads(path.read_bytes())
        boot, since, wall, used = str(kept["boot"]), float(kept["since_boot"]), float(kept["wall"]), float(kept["used_s"])
        if not (math.isfinite(since) and math.isfinite(wall) and 0 <= used < math.inf):
            raise ValueError  # no clock wrote that: of `nan` hours, none would ever be the last
    except FileNotFoundError:
        return 0.0, ""
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return 0.0, f"{path} cannot be read: the hours begin anew"
    if boot and boot == sources.boot() and now >= since:
        return used + now - since, ""
    away = max(sources.wall() - wall, 0.0)
    return used + away, f"the machine was booted meanwhile; by the wall clock it was away for {away / 60:.0f} min"


def peek(path: Path, sources: Sources = REAL) -> float:
    """Seconds used so far, for who only looks; 0 where it has not begun."""
    return resumed(path, sources, sources.since_boot())[0]
