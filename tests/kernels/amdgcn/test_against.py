"""Our GEMMs beside AITER's own kernel: modelled cycles per weight byte, compiled in the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefork.base.errors import SourceError
from tunefork.cli.kernels.compare import pinned
from tunefork.kernels.amdgcn.against import LIMIT, Beside, Modelled, best_of, compare
from tunefork.kernels.amdgcn.model import absent, find_tool


def test_loops_that_are_unrolled_away_leave_the_main_parts_to_decide() -> None:
    """A loop that AITER's code does not have is no infinitely slow one, beside which everything passes."""
    best, case = best_of([(Modelled(None, 90.0), {"k": 1}), (Modelled(None, 80.0), {"k": 2})])
    assert (best, case) == (Modelled(None, 80.0), {"k": 2})
    row = Beside(8, "down", 16, Modelled(50.0, 79.0), best, "")
    assert row.ratio == 79 / 80 and not row.ok
    assert best_of([(Modelled(None, 70.0), {"k": 1}), (Modelled(60.0, 80.0), {"k": 2})]) == (Modelled(60.0, 70.0), {"k": 2})


@pytest.mark.aiter
@pytest.mark.slow
def test_at_most_seven_tenths_of_aiters_cycles_per_weight_byte(tmp_path: Path) -> None:
    tool = find_tool()
    if tool is None:
        pytest.skip(f"NOT TESTED: {absent()}")
    try:
        tree = pinned(tmp_path)
    except SourceError as error:
        pytest.skip(f"AITER is out of reach: {error.message}; {error.remedy}")
    rows = compare(tree, tool, native_only=True)  # half as many to compile; `kernels compare` has the padded ones too
    assert {(row.tp, row.gemm) for row in rows} == {(8, "gate/up"), (8, "down"), (1, "gate/up"), (1, "down")}
    for row in rows:
        assert row.ratio <= LIMIT and row.ratio_main <= LIMIT, row
        assert 40 < row.aiter.main_part < 400, "AITER's own kernel models as something else than a matrix kernel"
