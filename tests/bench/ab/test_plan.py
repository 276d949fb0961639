"""Plans: drawn orders, the first four never all alike, same seed within a pair, lengthened without change."""

from __future__ import annotations

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.ab.plan import plan


def order(pairs: int, seed: int) -> str:
    return "".join(slot.arm for slot in plan(pairs, seed))


def test_every_pair_has_both_arms_in_an_order_that_is_drawn() -> None:
    drawn = [order(8, seed) for seed in range(2000)]
    assert {one[k : k + 2] for one in drawn for k in range(0, 16, 2)} == {"AB", "BA"}
    firsts = [one[::2] for one in drawn]
    assert all(set(one[:4]) == {"A", "B"} for one in firsts), "four alike would make every second trial's load a difference"
    assert len({one[:4] for one in firsts}) == 14 and len({one[4:] for one in firsts}) == 16
    for place in range(8):
        assert 0.45 < sum(one[place] == "A" for one in firsts) / 2000 < 0.55


def test_a_pair_shares_its_seed_and_pairs_differ() -> None:
    slots = plan(6, 1)
    assert [slot.pair for slot in slots] == [pair for pair in range(6) for _ in "AB"]
    assert all(slots[2 * k].seed == slots[2 * k + 1].seed for k in range(6))
    assert len({slot.seed for slot in slots}) == 6


def test_lengthening_keeps_what_was_planned() -> None:
    assert plan(6, 9) == plan(4, 9) + plan(2, 9, start=4)


def test_no_pairs_is_refused() -> None:
    with pytest.raises(BadInput, match="at least 1 pair"):
        plan(0, 1)
