"""From records to pairs: which two trials belong together, why a pair is spoiled, and whether that falls on both arms alike.

What an experiment adds to its records' labels: ``experiment`` (its name), ``comparison`` ("" or which of a series' many), ``a`` and ``b``
(the arms' variants), ``arm``, ``pair``, ``position``, ``foreign`` (processes of others on the device when the trial began), ``gpus``
(the numbers of those it had, as its host counts them), ``look`` (for which the pair was planned, from 1), ``attempt`` (0, or 1 where the
pair was spoiled and made once more).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tunefork.bench.ab.evidence import Evidence

CLOCK_SLACK = 0.05
UNEVEN = 0.05
Scenario = tuple[int, int, int]
"""(ISL, OSL, CONC)"""


@dataclass(frozen=True)
class Rejected:
    """A pair that does not count. arm: whose trial spoiled it; "" where it was both, or the machine."""

    pair: int
    reason: str
    arm: str = ""


@dataclass(frozen=True)
class Pairs:
    """One scenario's pairs, in order. half: pairs of which only one trial is there yet.  spoiled: every attempt that did not count, also
    those whose second attempt did.
    """

    accepted: tuple[tuple[Evidence, Evidence], ...]
    rejected: tuple[Rejected, ...]
    half: tuple[int, ...]
    spoiled: tuple[Rejected, ...] = ()

    def lost(self) -> tuple[int, int]:
        """(A's, B's) trials that spoiled an attempt."""
        return sum(one.arm == "A" for one in self.spoiled), sum(one.arm == "B" for one in self.spoiled)

    def uneven(self) -> bool:
        """Whether one arm loses its trials oftener than chance would have it (exact binomial, 5 %): then what is left is a selection."""
        a, b = self.lost()
        most, n = max(a, b), a + b
        return n > 0 and 2 * sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n <= UNEVEN


def key(record: Evidence) -> Scenario:
    """The scenario of a record."""
    return record.load.isl, record.load.osl, record.load.conc


Arms = dict[str, Evidence]


def collect(records: Iterable[Evidence]) -> dict[Scenario, Pairs]:
    """The pairs of one comparison, per scenario. Where a trial was measured twice (after an interruption) the later one counts."""
    trials: dict[Scenario, dict[int, dict[int, Arms]]] = {}
    for record in sorted(records, key=lambda one: (one.created, one.id)):
        pair, attempt = int(record.labels["pair"]), int(record.labels.get("attempt", "0"))
        trials.setdefault(key(record), {}).setdefault(pair, {}).setdefault(attempt, {})[record.labels["arm"]] = record
    return {scenario: sorted_out(by_pair) for scenario, by_pair in sorted(trials.items())}


def sorted_out(by_pair: Mapping[int, Mapping[int, Arms]]) -> Pairs:
    """Accept or reject each pair of a scenario: its first attempt that nothing spoiled counts."""
    accepted: list[tuple[Evidence, Evidence]] = []
    rejected: list[Rejected] = []
    spoiled: list[Rejected] = []
    half: list[int] = []
    first: Arms = {}
    for pair, attempts in sorted(by_pair.items()):
        found: list[Rejected] = []
        for _, arms in sorted(attempts.items()):
            if len(arms) < 2:
                continue
            reason = next(reasons(arms["A"], arms["B"], first), None)
            if reason is None:
                accepted.append((arms["A"], arms["B"]))
                first = first or arms
                break
            found.append(Rejected(pair, *reason))
        else:
            if found:
                rejected.append(found[-1])
            else:
                half.append(pair)
        spoiled += found
    return Pairs(tuple(accepted), tuple(rejected), tuple(half), tuple(spoiled))


Reason = tuple[str, str]
"""(why, the arm whose trial it was, or "")"""


def reasons(a: Evidence, b: Evidence, first: Arms) -> Iterator[Reason]:
    """Everything that spoils a pair, worst first. first: the first accepted pair, whose code and hardware all others must have.

    Pairs may come from several hosts of the same chips: what a host adds is in both trials of a pair, and their ratio leaves it out.
    """
    for arm, record in (("A", a), ("B", b)):
        if record.status != "passed":
            yield f"{arm} {record.status}: {record.problem or 'no reason given'}", arm
        if record.metrics.get("failed", 0):
            yield f"{arm}: {record.metrics['failed']:.0f} requests failed", arm
        if record.labels.get("foreign"):
            yield f"{arm}: another process was on the device: {record.labels['foreign']}", arm
    yield from ((why, "") for why in unlike(a, b))
    slow = throttled(a, b)
    if slow:
        yield slow
    for arm, record in (("A", a), ("B", b)):
        if first and (record.vllm != first[arm].vllm or record.version != first[arm].version):
            yield f"{arm}: not the code of the experiment's first pair ({commit(record)}, not {commit(first[arm])})", arm
        if first and hardware(record) != hardware(first[arm]):
            yield f"{arm}: on {hardware(record)}, the experiment's first pair on {hardware(first[arm])}", arm


def unlike(a: Evidence, b: Evidence) -> Iterator[str]:
    """What two trials of a pair must share."""
    if a.load != b.load:
        yield f"the arms ran other loads: seeds {a.load.seed} and {b.load.seed}, {a.load.num_prompts} and " \
              f"{b.load.num_prompts} prompts"
    if machine(a) != machine(b):
        yield f"A ran on {machine(a)}, B on {machine(b)}"
    for name in ("completed", "total_input_tokens", "total_output_tokens"):
        ours, theirs = a.metrics.get(name), b.metrics.get(name)
        if ours != theirs:
            yield f"{name} differ: A {ours}, B {theirs}"


def hardware(record: Evidence) -> str:
    """What a record was measured on: a number from one chip is never compared with another's."""
    return f"{record.gpus} x {record.chip}"


def machine(record: Evidence) -> str:
    """Where a record was measured: both trials of a pair on the same GPUs of the same host."""
    which = f" (GPU {record.labels['gpus']})" if record.labels.get("gpus") else ""
    return f"{hardware(record)} of {record.host}{which}"


def commit(record: Evidence) -> str:
    """The measured code, in short."""
    return record.vllm["commit"][:12] if record.vllm else record.version


def throttled(a: Evidence, b: Evidence) -> Reason | None:
    """One arm's GPU clock more than 5 % below the other's, by medians over the trial; None where clocks are not known."""
    own = {gpu for gpu in a.labels.get("gpus", "").split(",") if gpu}  # what others do on the node's other GPUs is not ours
    for gpu in sorted(a.clocks.keys() & b.clocks.keys() & (own or a.clocks.keys())):
        clocks = a.clocks[gpu], b.clocks[gpu]
        if min(clocks) > 0 and min(clocks) < (1 - CLOCK_SLACK) * max(clocks):
            return f"GPU {gpu} throttled: median clock A {clocks[0]:.0f} MHz, B {clocks[1]:.0f} MHz", "AB"[clocks[1] < clocks[0]]
    return None
