"""The Gluon prototype of `up`, compiled for sm_90 on the CPU: wgmma by registers that nobody writes too early, and none of them spilled."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
pytest.importorskip("triton.experimental.gluon", reason="NOT TESTED: needs a triton with Gluon (`pip install -e .[kernels]`)")

from studies.gluon_up.compiled import TILES, build, code_of
from studies.gluon_up.timed import blocks


@pytest.mark.slow
@pytest.mark.parametrize(("name", "products"), [("128x160, 8 warps", 36), ("128x288", 36)])
def test_its_machine_code_keeps_an_operand_until_its_products_end(name: str, products: int) -> None:
    code = code_of(build(TILES[name]))
    assert (code.products, code.shuffles, code.stack, code.early) == (products, 0, 0, 0)


def test_blocks_hold_every_pair_once_and_a_small_rest_widens_the_last_of_its_expert() -> None:
    assert blocks([0, 1, 128, 160, 161, 256, 289], 128, 32) == [
        (1, 0, 1), (2, 1, 128), (3, 129, 160), (4, 289, 128), (4, 417, 33), (5, 450, 128), (5, 578, 128), (6, 706, 128), (6, 834, 128), (6, 962, 33),
    ]  # fmt: skip
    assert blocks([300, 20], 128, 0) == [(0, 0, 128), (0, 128, 128), (0, 256, 44), (1, 300, 20)]
