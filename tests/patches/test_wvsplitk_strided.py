"""vllm/wvsplitk-strided: which activations wvSplitK gets as they lie at 2 to 5 rows, and which are copied first."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")

NAME, PATH = "vllm/wvsplitk-strided", "vllm/model_executor/layers/utils.py"
HIDDEN, PADDED, EXPERTS, LDS = 2880, 3072, 128, 32768

RunSource = Callable[..., ModuleType]


def handed_over(run_source: RunSource, source: str, x: Any) -> tuple[Any, Any, Any]:
    """(what wvSplitK got, the result, the expected result) on an MI355X without AITER."""
    root = MagicMock(name="vllm")
    root.platforms.rocm.on_gfx950.return_value = root.platforms.rocm.on_gfx9.return_value = True
    root.platforms.rocm.on_gfx1250.return_value = root.platforms.rocm.on_gfx1x.return_value = root.platforms.rocm.on_gfx11.return_value = False
    root._aiter_ops.rocm_aiter_ops.is_tgemm_enabled.return_value = False
    root._aiter_ops.rocm_aiter_ops.is_triton_gemm_enabled.return_value = False
    root.envs.VLLM_BATCH_INVARIANT = False
    root.utils.platform_utils.num_compute_units.return_value = 256
    root._custom_ops.wvSplitK.side_effect = lambda w, x, _cus, bias: torch.nn.functional.linear(x, w, bias)
    weight, bias = torch.randn(EXPERTS, x.shape[-1], dtype=x.dtype), torch.randn(EXPERTS, dtype=x.dtype)
    out = run_source(source, root, ("vllm",)).rocm_unquantized_gemm_impl(x, weight, bias)
    root._custom_ops.wvSplitK.assert_called_once()
    return root._custom_ops.wvSplitK.call_args.args[1], out, torch.nn.functional.linear(x, weight, bias)


def padded(rows: int, width: int = PADDED) -> Any:
    return torch.randn(rows, width, dtype=torch.bfloat16)


COPIED = {
    "a slice from the middle: the last row's span leaves the storage": lambda: padded(4)[:, PADDED - HIDDEN :],
    "transposed": lambda: torch.randn(HIDDEN, 4, dtype=torch.bfloat16).t(),
    "every other column": lambda: padded(4, 2 * HIDDEN)[:, ::2],
    "rows not on 16 bytes": lambda: padded(4, HIDDEN + 4)[:, :HIDDEN],
    "a span that LDS does not hold": lambda: padded(5, LDS // 4)[:, :HIDDEN],
}


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
def test_the_routers_slice_is_read_in_place(patched: Any, run_source: RunSource, rows: int) -> None:
    x = padded(rows)[:, :HIDDEN]
    got, out, expected = handed_over(run_source, patched(NAME).after(PATH), x)
    assert got.data_ptr() == x.data_ptr() and got.stride() == ((PADDED if rows > 1 else HIDDEN), 1)  # one row's stride is nobody's
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("case", COPIED)
def test_copies_what_the_kernel_cannot_read(patched: Any, run_source: RunSource, case: str) -> None:
    x = COPIED[case]()
    got, out, expected = handed_over(run_source, patched(NAME).after(PATH), x)
    assert got.is_contiguous() and got.data_ptr() != x.data_ptr()
    torch.testing.assert_close(out, expected)


def test_other_dimensions_are_flattened(patched: Any, run_source: RunSource) -> None:
    x = torch.randn(2, 2, PADDED, dtype=torch.bfloat16)[..., :HIDDEN]
    got, out, expected = handed_over(run_source, patched(NAME).after(PATH), x)
    assert got.shape == (4, HIDDEN) and got.data_ptr() == x.data_ptr() and out.shape == (2, 2, EXPERTS)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("rows", [2, 5])
def test_without_the_patch_the_routers_slice_is_copied(patched: Any, run_source: RunSource, rows: int) -> None:
    x = padded(rows)[:, :HIDDEN]
    got, _, _ = handed_over(run_source, patched(NAME).before(PATH), x)
    assert got.data_ptr() != x.data_ptr()


def test_the_kernel_takes_the_row_stride(patched: Any) -> None:
    """The premise, in the same tree: the launcher hands stride(0) of the activation on, the kernel brings stride * rows elements and stays below K."""
    kernel = (patched(NAME).tree / "csrc/rocm/skinny_gemms.cu").read_text()
    launcher = kernel.split("torch::Tensor wvSplitK(")[1].split("\ntorch::Tensor ")[0]
    assert "Kbp_in = in_b.stride(0);" in launcher and "(K_in, Kap_in, Kbp_in, M_in" in launcher
    body = kernel.split("    wvSplitK_hf_sml_(const int K, const int Kbp, const int Kap")[1].split("\n#else")[0]
    assert all(line in body for line in ("k < min__(Kap * N, max_lds_len)", "s[k_ + Kap * n]", "if (k_ >= K) break;"))
