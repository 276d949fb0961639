"""A/B of a kernel: two configurations, or two implementations, of one operation.

A pair is one process: both arms in it, on the same weights and inputs, in rounds of random order and its reverse (bench/kernels/timing.py); the
medians over its rounds are the pair's two values. Processes are the unit, because addresses and clocks differ more between them than rounds
do within one. Judged as servings are (ab/judge.py): paired log-ratio, Student's t over the pairs, Holm over the problems.

An arm is ``shipped`` (what the tables pick), a JSON file with a layer configuration (a row's "config" in kernels/moe_a16w4/configs), or the name of a
peer (bench/kernels/peers.py). No time is taken of a wrong result.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from tunefork.base import jsons
from tunefork.base.checked import CHECKED, from_json
from tunefork.base.errors import BadInput
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.program import run_program
from tunefork.bench.ab import judge
from tunefork.bench.ab.judgement import KERNEL, Judgement, Verdict, overall
from tunefork.bench.ab.pairs import Rejected
from tunefork.bench.errors import NothingMeasured
from tunefork.bench.machine import devices
from tunefork.bench.machine.gpu_processes import on_devices
from tunefork.bench.server.logtail import last_lines

FILE, OPERATIONS = "kernel.json", ("moe_a16w4",)
DEADLINE_S = 3600.0
MUST_AGREE = {"chip": "on", "torch": "with torch", "triton": "with Triton", "code": "of kernels"}
"""What of a pair must be as in the first one, and the word before it; code: a hash over kernels/moe_a16w4 and kernels/mxfp4."""
Timer = Literal["gpu", "cpu"]
NOTES: dict[str, str] = {
    "gpu": "graph replay, inputs and weights rotated past the caches",
    "cpu": "wall time of the CPU implementations on one thread of this machine, 4 experts instead of 128: a check of the method that says nothing of any GPU"}


@dataclass(frozen=True)
class KernelPlan:
    """What is compared. a, b: arms (a configuration file's contents stand in place of its path).  tokens: M of each problem."""

    __pydantic_config__ = CHECKED

    name: str
    op: str
    a: str
    b: str
    tp: int
    tokens: tuple[int, ...]
    seed: int
    rounds: int
    timer: Timer
    threshold: float


@dataclass(frozen=True)
class KernelOutcome:
    """What was found. judgements, medians (microseconds of A and B): by M."""

    plan: KernelPlan
    chips: tuple[str, ...]
    judgements: dict[int, Judgement]
    medians: dict[int, tuple[float, float]]
    rejected: tuple[Rejected, ...]

    @property
    def verdict(self) -> Verdict:
        return overall([one.verdict for one in self.judgements.values()])


def arm(text: str) -> str:
    """An arm as a plan keeps it: a name, or the configuration that a file holds, as JSON. BadInput where the file holds none."""
    if not text.endswith(".json"):
        return text
    try:
        data = jsons.loads(Path(text).read_bytes())
        return json.dumps({key: data.get("config", data)[key] for key in sorted(data.get("config", data))})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{text}: not a layer configuration ({type(error).__name__}: {error})",
                       "a row's \"config\" out of kernels/moe_a16w4/configs/*.json") from None


def begin(where: Path, wanted: KernelPlan) -> KernelPlan:
    """Write the plan, or take up the same one."""
    path = where / FILE
    if path.is_file():
        planned = from_json(KernelPlan, path.read_bytes(), f"{path} is damaged", "another --name, or remove the experiment's folder")
        differing = [name for name, value in asdict(planned).items() if name != "seed" and value != asdict(wanted)[name]]
        if differing:
            raise BadInput(f"experiment {planned.name} was planned otherwise: {', '.join(differing)} differ from {path}", "another --name")
        return planned
    where.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(wanted), indent=1).encode() + b"\n")
    return wanted


def kept(path: Path, planned: KernelPlan) -> dict[str, Any] | None:
    """A pair that is there and whole, else None: a damaged one is measured again."""
    try:
        one: dict[str, Any] = jsons.loads(path.read_bytes())
        whole = all(one["us"][str(count)][arm] for count in planned.tokens for arm in "AB") and isinstance(one["chip"], str) and "foreign" in one
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return one if whole else None


def run(layout: Layout, where: Path, planned: KernelPlan, pairs: int, say: Say) -> list[dict[str, Any]]:
    """Measure the pairs that are not there, one process each; all of them. NothingMeasured where a process fails."""
    gpus = devices.visible()[:1] if planned.timer == "gpu" else ()
    for pair in range(pairs):
        path = where / f"pair-{pair + 1}.json"
        if kept(path, planned):
            continue
        path.unlink(missing_ok=True)
        with devices.machine(layout.cache, say):
            say(f"pair {pair + 1} of {pairs}: {' and '.join(f'M {count}' for count in planned.tokens)}")
            foreign = on_devices(gpus) if gpus else ""
            log = where / f"pair-{pair + 1}.log"
            argv = [sys.executable, "-m", "tunefork.bench.ab.kernel_worker", str(where / FILE), str(pair), str(path), foreign]
            # Threads that wait for each other on a busy machine would be all that the CPU's clock sees.
            env = {**os.environ, **(devices.variables(gpus) if gpus else {"OMP_NUM_THREADS": "1"})}
            done = run_program(argv, env=env, cwd=where / "cwd", log=log, deadline_s=DEADLINE_S)
        if done.exit_code != 0 or not path.is_file():
            raise NothingMeasured(f"pair {pair + 1} {done.how}: {'; '.join(last_lines(log, 3)) or 'it said nothing'}", f"read {log}")
    return [jsons.loads((where / f"pair-{pair + 1}.json").read_bytes()) for pair in range(pairs)]


def outcome(planned: KernelPlan, found: Sequence[dict[str, Any]]) -> KernelOutcome:
    """Judge all problems; pairs of another chip or other code than the first, or beside somebody else's process, are left out."""
    rejected = tuple(Rejected(number, reason) for number, one in enumerate(found) if (reason := spoiled(one, found[0])))
    good = [one for number, one in enumerate(found) if number not in {bad.pair for bad in rejected}]
    values = {count: [(median(one["us"][str(count)]["A"]), median(one["us"][str(count)]["B"])) for one in good] for count in planned.tokens}
    medians = {count: (median(a for a, _ in pairs), median(b for _, b in pairs)) for count, pairs in values.items() if pairs}
    return KernelOutcome(planned, tuple(sorted({one["chip"] for one in found})), judge.judge(KERNEL, values, threshold=planned.threshold), medians, rejected)


def spoiled(one: dict[str, Any], first: dict[str, Any]) -> str:
    """Why a pair does not count; "" where it does."""
    if one["foreign"]:
        return f"another process was on the device: {one['foreign']}"
    return next((f"{word} {one.get(name)}, the first pair {word} {first.get(name)}" for name, word in MUST_AGREE.items()
                 if one.get(name) != first.get(name)), "")


def as_json(found: KernelOutcome) -> dict[str, object]:
    """The form of `bench ab --kernel --json`."""
    plan = found.plan
    scenarios = [{"tp": plan.tp, "M": count, "metric": KERNEL, "ratio": one.ratio, "lo": one.lo, "hi": one.hi, "pairs": one.pairs,
                  "rejected": [{"pair": bad.pair, "reason": bad.reason} for bad in found.rejected], "verdict": one.verdict, "more_pairs": one.more_pairs,
                  "us": dict(zip("ab", found.medians.get(count, (None, None)), strict=True))} for count, one in found.judgements.items()]
    return {"experiment": plan.name, "kernel": plan.op, "a": plan.a, "b": plan.b, "chips": found.chips, "timer": plan.timer,
            "note": NOTES[plan.timer], "verdict": found.verdict, "scenarios": scenarios}
