"""What things take, in minutes: what the records of this machine say, else stated defaults."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tunefork.bench.records.schema import Record

LEAST = 3
"""Server starts that a median is taken of."""
SLACK = 1.25
"""What is started must fit with so much more than it is expected to take."""

DEVELOPED = 0.5
"""Minutes of a `develop` with nothing to do."""


@dataclass(frozen=True)
class Costs:
    """Minutes. start: of a warm server with the race's load and its stop.  warm: what the first start of an arm takes beyond that (JIT).

    source: where start and warm come from.
    """

    start: float
    warm: float
    develop: float
    gate: float
    scenarios: float
    tuning: float
    doctor: float = 1.0
    report: float = 1.0
    source: str = "stated defaults, not measured"


DEFAULTS = {
    "gfx950": Costs(start=10, warm=20, develop=60, gate=15, scenarios=20, tuning=45),
    "cpu": Costs(start=0.6, warm=0.0, develop=0.1, gate=1.5, scenarios=1.0, tuning=0, doctor=0.2, report=0.1),
}


def of_machine(records: Iterable[Record], profile: str, host: str, target: str, default: Costs) -> Costs:
    """Costs with start and warm as this host's records of the profile have them; the defaults where there are fewer than LEAST.

    A trial's first record has the time to readiness; what the slowest tenth of the starts takes beyond the median is taken for JIT.
    """
    trials: dict[str, list[Record]] = {}
    for one in records:
        if one.profile == profile and one.host.name == host and one.server.target == target and one.status == "passed":
            trials.setdefault(one.trial, []).append(one)
    ready = [own[0].server.seconds_to_ready for own in trials.values() if own[0].server.seconds_to_ready is not None]
    loads = [sum(one.timing.client_s + one.timing.before_s + one.timing.after_s for one in own if one.timing) for own in trials.values()]
    if len(ready) < LEAST:
        return default
    usual = statistics.median(ready)
    return replace(default, start=(usual + statistics.median(loads)) / 60, warm=max(0.0, max(ready) - usual) / 60,
                   source=f"{len(ready)} starts of {profile} on {host}")
