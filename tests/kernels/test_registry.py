"""What ships: every row is compilable as described, and named once."""

from __future__ import annotations

import pytest

from tunefork.kernels.moe_a16w4.config import table
from tunefork.kernels.registry import entries, shipped


@pytest.mark.parametrize("arch", ["gfx950", "sm90"])
def test_rows_are_named_once_and_describe_every_argument(arch: str) -> None:
    rows = list(entries(arch))
    labels = [(row.kernel, row.config, row.shape) for row in rows]
    assert len(labels) == len(set(labels))
    for row in rows:
        assert set(row.signature) == set(row.fn.arg_names), row.kernel
        assert {name for name, kind in row.signature.items() if kind == "constexpr"} == set(row.constexprs), row.kernel
        assert row.options["num_warps"] in (1, 2, 4, 8, 16) and row.grid is not None and len(row.grid) == 3 and min(row.grid) > 0


def test_every_table_row_ships_both_gemms() -> None:
    names = {(row.kernel, row.config) for row in shipped()}
    for row in table("gfx950"):
        config = f"i{row.intermediate}-m{row.tokens}"
        assert any(label == config for _, label in names), config
    assert {f"moe_a16w4.{name}" for name in ("up_kernel", "down_token_kernel", "down_sorted_kernel", "route_kernel")} <= {kernel for kernel, _ in names}
