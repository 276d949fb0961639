"""Server starts of a campaign's arms, by ``bench ab``'s trials: a server each, the race's load on it, labelled records.

Labels: ``campaign`` (its name), ``arm``, ``block`` and ``slot`` (a start that counts) or ``warm`` (one that fills caches).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.bench.ab import trial
from tunefork.bench.ab.judgement import DIRECTION, HIGHER
from tunefork.bench.ab.plan import Slot
from tunefork.bench.ab.trial import Trials
from tunefork.bench.campaign.planned import Planned, named
from tunefork.bench.campaign.racing import Arm
from tunefork.bench.machine import devices
from tunefork.bench.machine.gpu_processes import on_devices
from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Followed, Store

WARM = "warm"


def trials(layout: Layout, store: Store, where: Path, planned: Planned, arms: Iterable[Arm], within_s: float, say: Say) -> Trials:
    """What starts these arms. Their variants are applied now. within_s: how long a server may take to be ready, and its load."""
    settings = planned.settings()
    profiles = {named(arm): planned.served(arm) for arm in arms}
    own = settings.model_copy(update={
        "ready_timeout_s": max(1.0, min(within_s, *(one.ready_timeout_s for one in profiles.values()))), "client_timeout_s": max(1.0, within_s)})
    opened = {named(arm): trial.variant_arm(layout, profiles[named(arm)], own, planned.variant(arm), say) for arm in arms}
    reference = planned.served(())
    return Trials(layout, store, own, reference, opened, planned.client, False, where, say, {})


def labels(planned: Planned, arm: Arm, gpus: Sequence[str], **more: str) -> dict[str, str]:
    return {"campaign": planned.name, "arm": named(arm), "gpus": ",".join(gpus), "foreign": on_devices(gpus), **more}


def measure(layout: Layout, store: Store, where: Path, planned: Planned, arm: Arm, block: int, slot: int, within_s: float, say: Say) -> None:
    """One start that counts; block -1 fills caches."""
    gpus = devices.visible()[: planned.served(arm).gpus] if planned.gpus else ()
    mark = {"block": str(block), "slot": str(slot)} if block >= 0 else {WARM: "1"}
    made = trials(layout, store, where, planned, [arm], within_s, say)
    # One block has the same prompts for all its arms; the next has others.
    made(named(arm), Slot(slot, max(block, 0), "A", (planned.rules.seed + 7919 * (block + 1)) % 2**31), labels(planned, arm, gpus, **mark))


def loads(planned: Planned) -> int:
    """Records that a whole start leaves."""
    return sum(len(one.conc) for one in planned.served(()).scenarios)


class Mine(Followed):
    """The campaign's records in a store."""

    def __init__(self, store: Store, planned: Planned) -> None:
        super().__init__(store, lambda record: planned.name in (record.labels.get("campaign"), record.labels.get("experiment")))

    def of(self, block: int, slot: int) -> list[Record]:
        """The records of a start that counts: of the try that was not cut, else of any. Their times say nothing: clocks are set."""
        tries: dict[str, list[Record]] = {}
        for one in self.all():
            if one.labels.get("block") == str(block) and one.labels.get("slot") == str(slot):
                tries.setdefault(one.trial, []).append(one)
        return max(tries.values(), key=lambda own: (all(one.status != "interrupted" for one in own), len(own)), default=[])


def score(records: Sequence[Record], planned: Planned) -> tuple[float | None, str]:
    """(ln of the metric, the mean over all loads; why there is none). Throughput counts per GPU; where less is better, less is more."""
    bad = next((one for one in records if one.status != "passed"), None)
    if bad is not None:
        return None, bad.problems[0].message if bad.problems else bad.status
    if len(records) < loads(planned):
        return None, f"{len(records)} of {loads(planned)} loads were measured"
    if foreign := next((one.labels["foreign"] for one in records if one.labels.get("foreign")), ""):
        return None, f"another process was on the device: {foreign}"
    values = [value_of(one.metrics or {}, planned.metric, one.server.gpus) for one in records]
    if any(value is None for value in values):
        return None, f"no {planned.metric}"
    return sum(value for value in values if value is not None) / len(values), ""


def value_of(metrics: Mapping[str, float], metric: str, gpus: int) -> float | None:
    value = metrics.get(metric, 0.0)
    if not math.isfinite(value) or value <= 0:
        return None
    return math.log(value / gpus if metric.endswith("throughput") else value) * (1 if DIRECTION[metric] == HIGHER else -1)
