"""Is the order of elements and rows what the layout says? Told from statistics, where there are any; never from a name.

Nibbles. Exchanging elements within a block changes no histogram. But inputs of one layer differ in size, channel by channel, and the router's weight
([E, H], not quantised) has the same inputs as gate and up: the sizes of its columns and of theirs go together where both are in the same order. Each
hypothesis is one permutation within blocks; its score is the correlation over columns, block means taken out, times the root of the columns.

Gate and up. Their rows (and biases) have different distributions: in pairs, even and odd rows differ; one after the other, the two halves do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunefork.bench.checkpoint.projections import GROUP

if TYPE_CHECKING:
    import numpy as np

SURE = 8.0  # standard deviations; scores of untold orders stay below 4 in the tests' checkpoints without structure
LEAD = 4.0


def hypotheses() -> dict[str, list[int]]:
    """Name -> for each place of a block as read, the element that lies there."""
    pairs = list(range(GROUP))
    swapped = [at ^ 1 for at in pairs]
    halves = [at // 2 + (at % 2) * GROUP // 2 for at in pairs]  # byte i holds i and i + 16, read as 2i and 2i + 1
    paired = [2 * (at % (GROUP // 2)) + at // (GROUP // 2) for at in pairs]  # the inverse: pairs in a gguf block
    return {"as the layout says": pairs, "nibbles swapped": swapped, "elements i and i + 16 in a byte": halves, "elements 2i and 2i + 1 in a byte": paired}


@dataclass(frozen=True)
class Verdict:
    """name: the hypothesis that holds, or "" where the statistics do not tell. scores: of each, in standard deviations."""

    name: str
    scores: dict[str, float]


def _decided(scores: dict[str, float]) -> Verdict:
    first, second = sorted(scores, key=lambda name: -scores[name])[:2]
    told = scores[first] > SURE and scores[first] - scores[second] > LEAD
    return Verdict(first if told else "", {name: round(score, 1) for name, score in scores.items()})


def element_order(sizes: list[np.ndarray], references: list[np.ndarray]) -> Verdict:
    """sizes: of the columns as read, one per layer; references: of the router's columns, in true order."""
    import numpy as np

    def centred(values: np.ndarray) -> np.ndarray:
        logs = np.log(np.maximum(values, 1e-3 * max(float(values.mean()), 1e-300))).reshape(-1, GROUP)  # a column may be all zero
        return np.asarray(logs - logs.mean(1, keepdims=True))

    scores = {}
    for name, places in hypotheses().items():
        total, used = 0.0, 0
        for read, true in zip(sizes, references, strict=True):
            ours, theirs = centred(read), centred(true)[:, places]
            spread = float(np.sqrt((ours**2).sum() * (theirs**2).sum()))
            if spread > 0:
                total += float((ours * theirs).sum()) / spread * np.sqrt(ours.size)
                used += 1
        scores[name] = total / max(used, 1) ** 0.5
    return _decided(scores)


def row_order(rows: np.ndarray) -> Verdict:
    """rows [..., 2I]: any number that a row of gate_up has (its bias, the logarithm of its size), per expert."""
    import numpy as np

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        error = np.sqrt(one.var() / one.size + other.var() / other.size)
        return float(abs(one.mean() - other.mean()) / error) if error > 0 else 0.0

    def step(one: np.ndarray) -> float:
        """At the middle alone: rows that somebody sorted by size differ from quarter to quarter."""
        first, second, third, fourth = np.array_split(one, 4, axis=-1)
        return apart(second, third) - max(apart(first, second), apart(third, fourth))

    centred = np.abs(rows - np.median(rows))
    pairs = max(apart(one[..., 0::2], one[..., 1::2]) for one in (rows, centred))
    halves = max(step(one) for one in (rows, centred))
    return _decided({"pairs": pairs, "halves": halves})
