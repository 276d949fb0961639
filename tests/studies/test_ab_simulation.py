"""The judge against 2,000 experiments with a known truth, and the figures in the docs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from studies import ab_simulation as simulate

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [6, 10])
def test_2000_mixed_experiments(pairs: int) -> None:
    """Drift, CV 1 to 20 %, heavy tails."""
    coverage, false_verdicts = simulate.mixture(2_000, pairs)
    assert 0.94 <= coverage <= 0.97  # half are heavy tails, which cover 96 %; 2,000 experiments have a standard error of 0.5 %
    assert false_verdicts <= 0.05


@cache
def cells() -> tuple[simulate.Cell, ...]:
    return tuple(simulate.cells())


@pytest.mark.slow
def test_every_condition_on_its_own() -> None:
    for cell in cells():
        assert cell.false <= 0.055, cell  # 5 % nominal; 20,000 experiments have a standard error of 0.15 %
        assert cell.coverage >= 0.94, cell
        if cell.noise != "stalls":
            assert cell.coverage <= 0.97, cell


def test_holm_keeps_the_family_at_5_percent_and_is_needed() -> None:
    with_holm, without = simulate.family()
    assert with_holm <= 0.053
    assert without > 0.06


@pytest.mark.slow
@pytest.mark.parametrize("load", simulate.LOADS)
def test_no_load_makes_more_than_one_false_verdict_in_twenty(load: str) -> None:
    for pairs in simulate.LOAD_PAIRS:
        share = simulate.under_load(load, pairs)
        assert share <= 0.05, (pairs, share)  # of the worst of four CVs; 4,000 experiments have a standard error of 0.34 %


@pytest.mark.slow
def test_the_order_that_was_fixed_and_looking_after_every_pair_do_make_more() -> None:
    assert simulate.fixed_order() > 0.2
    two, every = simulate.stopping()
    assert two <= 0.05 and every > 0.15


def test_other_orders_are_biased_as_the_protocol_says() -> None:
    assert simulate.bias("AAAABBBB") == pytest.approx(0.0114, abs=1e-4)
    assert simulate.bias("ABABABAB") == pytest.approx(0.0029, abs=1e-4)


@pytest.mark.parametrize("pairs", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_the_power_table_holds_in_simulation_where_t_alone_decides(pairs: int) -> None:
    from tunefork.bench.ab.judge import spent
    from tunefork.bench.ab.power import detectable

    assert simulate.measured_power(pairs, detectable(pairs, alpha=spent(pairs))) == pytest.approx(0.80, abs=0.015)


@pytest.mark.slow
def test_the_docs_hold_what_the_command_prints() -> None:
    text = (ROOT / simulate.DOCUMENT).read_text(encoding="utf-8")
    assert simulate.placed(text, simulate.figures()) == text, "python -m studies.ab_simulation --write"


def test_the_docs_are_wrapped_as_the_command_wraps() -> None:
    """Quick, beside the slow one above: who wraps the figures by hand sees it at once."""
    begin, end = simulate.MARKS
    block = (ROOT / simulate.DOCUMENT).read_text(encoding="utf-8").split(begin + "\n")[1].split("\n" + end)[0]
    assert simulate.wrapped(block) == block, "python -m studies.ab_simulation --write"
    assert max(len(line) for line in block.splitlines() if not line.startswith(("|", "**"))) < 120
