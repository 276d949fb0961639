"""Power: published figures, and the number of pairs by search."""

from __future__ import annotations

import pytest
from scipy import stats

from tunefork.bench.ab import power


@pytest.mark.parametrize(("pairs", "effect"), [(6, 1.44), (10, 1.0)])
def test_the_protocols_figures(pairs: int, effect: float) -> None:
    assert power.detectable(pairs) == pytest.approx(effect, abs=0.011)


def test_pairs_for_is_the_least() -> None:
    needed = power.pairs_for(0.02, 0.03)
    assert needed is not None
    assert power.power(needed, 2 / 3) >= 0.8 > power.power(needed - 1, 2 / 3)


def test_hopeless_and_trivial() -> None:
    assert power.pairs_for(1e-5, 0.1) is None
    assert power.pairs_for(0.01, 0.0) == 2
    assert power.pairs_for(1.0, 1e-4) == 2


def test_pairs_for_width_is_the_least() -> None:
    needed = power.pairs_for_width(0.01, 0.01)
    assert needed == 7  # t(.975, 6) / sqrt 7 = 0.925; t(.975, 5) / sqrt 6 = 1.049


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [4, 6, 10, 100, 10_000])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.024])
def test_it_is_the_noncentral_t_of_scipys_statistics(pairs: int, alpha: float) -> None:
    for effect in (0.0, 0.01, 0.1, 0.5, 1.0, 3.0):
        shift = effect * pairs**0.5
        critical = stats.t.isf(alpha / 2, pairs - 1)
        whole = 1.0 if shift > 36 else stats.nct.sf(critical, pairs - 1, shift) + (stats.nct.cdf(-critical, pairs - 1, shift) if shift < 5 else 0)
        assert power.power(pairs, effect, alpha) == pytest.approx(whole, abs=1e-9)
