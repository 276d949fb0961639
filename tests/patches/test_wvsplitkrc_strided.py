"""vllm/wvsplitkrc-strided: which activations wvSplitKrc gets as they lie, and which are copied first."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")

PATH = "vllm/model_executor/layers/utils.py"
ROWS, HIDDEN, PADDED, EXPERTS = 16, 2880, 3072, 128

RunSource = Callable[..., ModuleType]


def rocm() -> MagicMock:
    """A vllm in which this machine is an MI355X without AITER; wvSplitKrc records what it gets."""
    root = MagicMock(name="vllm")
    root.platforms.rocm.on_gfx950.return_value = True
    root.platforms.rocm.on_gfx1250.return_value = False
    root._aiter_ops.rocm_aiter_ops.is_tgemm_enabled.return_value = False
    root._aiter_ops.rocm_aiter_ops.is_triton_gemm_enabled.return_value = False
    root.envs.VLLM_BATCH_INVARIANT = False  # vLLM 0.33.0 asks for it first
    root.utils.platform_utils.num_compute_units.return_value = 256
    root._custom_ops.wvSplitKrc.side_effect = lambda x, w, _cus, bias: torch.nn.functional.linear(x, w, bias)
    return root


def handed_over(run_source: RunSource, source: str, x: Any) -> tuple[Any, Any, Any]:
    """(what wvSplitKrc got, the result, the expected result) for one activation."""
    root = rocm()
    weight = torch.randn(EXPERTS, x.shape[1], dtype=x.dtype)
    bias = torch.randn(EXPERTS, dtype=x.dtype)
    out = run_source(source, root, ("vllm",)).rocm_unquantized_gemm_impl(x, weight, bias)
    root._custom_ops.wvSplitKrc.assert_called_once()
    return root._custom_ops.wvSplitKrc.call_args.args[0], out, torch.nn.functional.linear(x, weight, bias)


def padded(rows: int = ROWS, width: int = PADDED) -> Any:
    return torch.randn(rows, width, dtype=torch.bfloat16)


IN_PLACE = {
    "the router's slice of the padded activation": lambda: padded()[:, :HIDDEN],
    "the largest batch": lambda: padded(128)[:, :HIDDEN],
    "rows of a larger batch": lambda: padded(64)[8:40, :HIDDEN],
    "a dense activation": lambda: padded(width=HIDDEN),
}

COPIED = {
    "a slice from the middle: the span of the last row leaves the storage": lambda: padded()[:, PADDED - HIDDEN :],
    "transposed": lambda: torch.randn(HIDDEN, ROWS, dtype=torch.bfloat16).t(),
    "every other column": lambda: padded(width=2 * HIDDEN)[:, ::2],
    "rows not on 16 bytes": lambda: padded(width=HIDDEN + 4)[:, :HIDDEN],
    "start not on 16 bytes": lambda: padded(ROWS + 1)[:ROWS, 4 : 4 + HIDDEN],
    "one row repeated": lambda: padded(1, HIDDEN).expand(ROWS, HIDDEN),
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_reads_in_place(case: str, patched: Any, run_source: RunSource) -> None:
    source = patched("vllm/wvsplitkrc-strided").after(PATH)
    x = IN_PLACE[case]()
    got, out, expected = handed_over(run_source, source, x)
    assert got.data_ptr() == x.data_ptr() and got.stride() == x.stride()
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("case", COPIED)
def test_copies_what_the_kernel_cannot_read(case: str, patched: Any, run_source: RunSource) -> None:
    source = patched("vllm/wvsplitkrc-strided").after(PATH)
    x = COPIED[case]()
    got, out, expected = handed_over(run_source, source, x)
    assert got.is_contiguous() and got.data_ptr() != x.data_ptr()
    torch.testing.assert_close(out, expected)


def test_span_stays_in_the_storage(patched: Any, run_source: RunSource) -> None:
    """Whatever the width and offset of a slice: what the kernel may touch (rows * stride(0) elements) is x's own."""
    source = patched("vllm/wvsplitkrc-strided").after(PATH)
    in_place = run_source(source, rocm(), ("vllm",)).wvsplitkrc_reads_in_place
    answers = set()
    for offset in range(0, 96, 8):
        for spare in range(0, 96, 8):
            storage = torch.zeros(10 * 640 + spare, dtype=torch.bfloat16)
            x = storage[: 10 * 640].view(10, 640)[:, offset : offset + 544]
            fits = offset + 10 * 640 <= storage.numel()
            assert in_place(x) == fits, (offset, spare)
            answers.add(fits)
    assert answers == {True, False}


def test_without_the_patch_the_routers_slice_is_copied(patched: Any, run_source: RunSource) -> None:
    source = patched("vllm/wvsplitkrc-strided").before(PATH)
    x = IN_PLACE["the router's slice of the padded activation"]()
    got, _, _ = handed_over(run_source, source, x)
    assert got.data_ptr() != x.data_ptr()


def test_the_kernel_takes_the_row_stride(patched: Any) -> None:
    """The premise, in the same tree: the launcher reads stride(0), the kernel steps rows by it and clamps at stride * rows."""
    kernel = (patched("vllm/wvsplitkrc-strided").tree / "csrc/rocm/skinny_gemms.cu").read_text()
    launcher = kernel.split("torch::Tensor wvSplitKrc(")[1].split("\ntorch::Tensor ")[0]
    body = kernel.split("wvSplitKrc_(const int actlN")[1].split("#else\ntemplate")[0]
    assert "Kap_in = in_a.stride(0);" in launcher and "N_in, K_in, Kap_in" in launcher
    assert "A[min__(Kap * actlN - A_CHUNK," in body and "kOffcp + Kap *" in body
