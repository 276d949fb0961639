"""What the peers are given: Marlin's weight format, padded weights, logits without ties. The peers themselves run on a GPU only."""

from __future__ import annotations

import pytest
import torch

from tunefork.base.errors import MissingTool
from tunefork.bench.kernels import cases, marlin, one_call, peers
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference
from tunefork.kernels.mxfp4.format import nibbles


def test_marlin_words_against_a_loop_over_its_tiles() -> None:
    """A tile is 16 of K by 64 of N; lane 4 c + t of warp w holds columns 16 w + c and 8 further, rows 2 t, 2 t + 1 and those 8 further."""
    values = torch.randint(0, 256, (1, 128, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    codes = nibbles(values[0]).T.tolist()
    got = marlin.pack_values(values)[0].tolist()
    for k_tile in range(4):
        for n_tile in range(2):
            for warp in range(4):
                for lane in range(32):
                    column = n_tile * 64 + warp * 16 + lane // 4
                    rows = [k_tile * 16 + 2 * (lane % 4) + more for more in (0, 1, 8, 9)]
                    held = [codes[row][column + more] for more in (0, 8) for row in rows]
                    word = sum(held[source] << (4 * place) for place, source in enumerate((0, 2, 4, 6, 1, 3, 5, 7)))
                    assert got[k_tile][n_tile * 128 + lane * 4 + warp] == (word if word < 1 << 31 else word - (1 << 32))


def test_marlin_scales_keep_their_bytes() -> None:
    scales = torch.randint(0, 255, (2, 128, 4), dtype=torch.uint8)
    packed = marlin.pack_scales(scales).view(torch.uint8)
    assert packed.shape == (2, 4, 128)
    for expert in range(2):
        for group in range(4):
            assert sorted(packed[expert, group].tolist()) == sorted(scales[expert, :, group].tolist())


def test_padding_changes_nothing() -> None:
    plain = cases.random_plain(8, "cpu", experts=2)
    x, logits = torch.randn(1, cases.HIDDEN).bfloat16(), torch.randn(1, 2)
    wide = peers.padded(plain, 256, 256)
    assert wide[0].shape[1] == 1024 and wide[3].shape == (2, 3072, 256)
    want = fused_moe_reference(x, logits, plain, 2)
    assert torch.allclose(fused_moe_reference(x, logits, wide, 2)[:, : cases.HIDDEN], want, rtol=1e-5, atol=1e-4)


def test_no_two_logits_of_a_row_are_equal() -> None:
    """Among equal logits implementations choose differently, and a right peer would look wrong."""
    for _, logits in cases.inputs(cases.MoeProblem(8, 256), "cpu", 2):
        assert all(row.unique().numel() == row.numel() for row in logits)


def test_an_absent_peer_says_why() -> None:
    if torch.cuda.is_available():
        pytest.skip("peers may be present here")
    said: list[str] = []
    found = peers.available(cases.random_plain(8, "cpu", experts=1), said.append)
    assert set(found) == {"torch"}
    assert {line.split()[1] for line in said} >= {"tk", "tk-4w", "marlin", "aiter"} and all("absent: " in line for line in said)


def test_profiling_without_a_gpu_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingTool, match="no GPU"):
        one_call.main(["--tp", "8"])
