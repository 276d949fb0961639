"""What an experiment says after each pair: how far it is, how long still, the interval so far, and why a pair was left out.

The interval is for whoever waits: a verdict comes from all planned pairs alone (docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from tunefork.base.waiting import duration
from tunefork.bench.ab import evidence
from tunefork.bench.ab.experiment import Experiment
from tunefork.bench.ab.outcome import interval, outcomes, ratio
from tunefork.bench.records.schema import Record


def lines(records: Sequence[Record], planned: Experiment, pair: int, left: int, seconds: float) -> list[str]:
    """records: of one comparison.  pair: the one that ended.  left: pairs still to make, of all comparisons.  seconds: a pair's mean."""
    said = []
    for found in outcomes(map(evidence.of, records), decides=planned.decides, threshold=planned.threshold):
        said += [f"  {one.name}: pair {pair + 1} left out: {bad.reason}" for one in found.scenarios for bad in one.rejected if bad.pair == pair]
        so_far = [f"{one.name} {ratio(judged.ratio)} ({interval(judged)})" for one in found.scenarios
                  if (judged := one.judgements[one.decides]).ratio is not None]
        if so_far:
            said.append(f"  so far, B/A of {found.scenarios[0].decides}: {'; '.join(so_far)}")
    if left:
        said.append(f"  {left} pair{'s' if left > 1 else ''} left, about {duration(left * seconds)}")
    return said
