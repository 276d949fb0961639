"""The MXFP4 format and its layouts: exact values, exact inverses, no padding."""

from __future__ import annotations

import math

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.mxfp4 import FragmentLayout, dequantize, pack_matrix, unpack_matrix
from tunefork.kernels.mxfp4.layout import SCALE_BIAS

# OCP MX v1.0, table 5: e2m1 by code.
E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def random_plain(experts: int, rows: int, cols: int, top: int = 129) -> tuple[torch.Tensor, torch.Tensor]:
    values = torch.randint(0, 256, (experts, rows, cols // 2), dtype=torch.uint8)
    return values, torch.randint(0, top, (experts, rows, -(-cols // 32)), dtype=torch.uint8)


@pytest.mark.parametrize("scale", [0, 1, 126, 127, 128, 200, 252])
def test_every_code_at_every_kind_of_scale(scale: int) -> None:
    values = torch.tensor([[c | ((c + 1) << 4) for c in range(0, 16, 2)] * 2], dtype=torch.uint8)
    got = dequantize(values, torch.tensor([[scale]], dtype=torch.uint8))[0, :16].tolist()
    for code, value in enumerate(got):
        want = E2M1[code] * 2.0 ** (scale - 127)
        assert value == want and math.copysign(1, value) == math.copysign(1, want), f"code {code} at scale {scale}"


def test_scale_255_is_nan() -> None:
    assert dequantize(torch.zeros(1, 16, dtype=torch.uint8), torch.tensor([[255]], dtype=torch.uint8)).isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm90", "gfx950"])
@pytest.mark.parametrize("cols", [8, 24, 40, 104, 128, 136, 360, 720, 1440, 2880])
@pytest.mark.parametrize("interleaved", [False, True])
def test_layout_has_an_exact_inverse_and_pads_nothing(arch: str, cols: int, interleaved: bool) -> None:
    values, scales = random_plain(2, 32, cols)
    layout = FragmentLayout(arch, 32, cols, interleaved)
    words, packed = pack_matrix(values, scales, layout)
    assert 4 * words.numel() + packed.numel() == 2 * layout.expert_bytes == values.numel() + scales.numel()
    back = unpack_matrix(words, packed, layout)
    assert torch.equal(back[0], values) and torch.equal(back[1], scales)


def test_wide_scales_are_stored_as_they_are_and_narrow_ones_biased() -> None:
    values, scales = random_plain(1, 16, 128, top=255)
    wide = FragmentLayout("sm90", 16, 128, wide=True)
    _, packed = pack_matrix(values, scales, wide)
    assert torch.equal(packed.sort().values, scales.flatten(1).sort().values)
    _, packed = pack_matrix(values, scales.clamp(max=128), FragmentLayout("sm90", 16, 128))
    assert torch.equal(packed.sort().values, scales.clamp(max=128).flatten(1).sort().values + SCALE_BIAS)


@pytest.mark.parametrize("fault", ["nibble order", "row order", "scale order"])
def test_the_inverse_check_sees_a_wrong_order(fault: str) -> None:
    values, scales = random_plain(1, 32, 360)
    layout = FragmentLayout("gfx950", 32, 360)
    wrong_values = (values >> 4) | (values << 4) if fault == "nibble order" else values.flip(1) if fault == "row order" else values
    wrong_scales = scales.roll(1, -1) if fault == "scale order" else scales
    back = unpack_matrix(*pack_matrix(wrong_values, wrong_scales, layout), layout)
    assert not (torch.equal(back[0], values) and torch.equal(back[1], scales))


def test_what_cannot_be_stored_is_refused() -> None:
    with pytest.raises(BadInput, match="N % 16"):
        FragmentLayout("gfx950", 24, 128)
    with pytest.raises(BadInput, match="no weight layout"):
        FragmentLayout("gfx942", 16, 128)
    values, scales = random_plain(1, 16, 128)
    scales[0, 3, 1] = 255
    with pytest.raises(BadInput, match="255"):
        pack_matrix(values, scales, FragmentLayout("sm90", 16, 128))
