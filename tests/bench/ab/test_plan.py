"""Plans: ABBA BAAB, same seed within a pair, either arm first, lengthened without change."""

from __future__ import annotations

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.ab.plan import plan


def order(pairs: int, seed: int) -> str:
    return "".join(slot.arm for slot in plan(pairs, seed))


def test_orders_are_abba_baab_from_either_arm() -> None:
    assert {order(6, seed) for seed in range(50)} == {"ABBABAABABBA", "BAABABBABAAB"}


@pytest.mark.parametrize("pairs", [2, 4, 6, 8, 10, 12])
def test_over_an_even_number_of_pairs_each_arm_is_first_equally_often(pairs: int) -> None:
    firsts = order(pairs, 3)[::2]
    assert firsts.count("A") == firsts.count("B")


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
