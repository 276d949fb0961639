"""vllm/tuned-gemm-first: which implementation each unquantised GEMM of GPT-OSS gets on gfx950, with and without a tuned row."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")

PATH = "vllm/model_executor/layers/utils.py"
ROW = {"libtype": "flydsl", "solidx": 1079, "us": 4.1}
NO_ROW = {"libtype": "torch", "solidx": 0}

RunSource = Callable[..., ModuleType]


class Gpu:
    """An MI355X with AITER: ``taken`` names the implementation of the last GEMM."""

    def __init__(self, run_source: RunSource, source: str, row: dict[str, Any], *, aiter: bool = True, invariant: bool = False) -> None:
        self.taken = ""
        self.root = MagicMock(name="vllm and aiter")
        self.root.platforms.rocm.on_gfx1250.return_value = False
        self.root.envs.VLLM_BATCH_INVARIANT = invariant
        self.root.utils.platform_utils.num_compute_units.return_value = 256
        self.root.platforms.current_platform.is_fp8_fnuz.return_value = False
        operations = self.root._aiter_ops.rocm_aiter_ops
        operations.is_tgemm_enabled.return_value = operations.is_triton_gemm_enabled.return_value = aiter
        self.root.tuned_gemm.get_GEMM_A16W16_config.return_value = row
        self.root.tuned_gemm.tgemm.mm.side_effect = self.linear("tuned")
        self.root.ops.triton.gemm_a16w16.gemm_a16w16.side_effect = self.linear("triton")
        self.root._custom_ops.wvSplitKrc.side_effect = lambda x, w, _cus, b: self.linear("wvSplitKrc")(x, w, b)
        self.root._custom_ops.wvSplitK.side_effect = lambda w, x, _cus, b: self.linear("wvSplitK")(x, w, b)
        self.root.model_executor.determinism.batch_invariant.linear_batch_invariant.side_effect = self.linear("invariant")
        self.impl = run_source(source, self.root, ("vllm", "aiter")).rocm_unquantized_gemm_impl

    def linear(self, name: str) -> Callable[..., Any]:
        def run(x: Any, weight: Any, bias: Any) -> Any:
            self.taken = name
            return torch.nn.functional.linear(x, weight, bias)

        return run

    def gemm(self, x: Any, columns: int) -> str:
        """Run one GEMM, check its result, and say which implementation made it."""
        weight = torch.randn(columns, x.shape[-1], dtype=x.dtype)
        bias = torch.randn(columns, dtype=x.dtype)
        self.taken = "torch"
        out = self.impl(x, weight, bias)
        torch.testing.assert_close(out, torch.nn.functional.linear(x, weight, bias))
        return self.taken


def activation(rows: int, k: int) -> Any:
    return torch.randn(rows, k, dtype=torch.bfloat16)


# (rows, columns, k): what the pin takes although a row exists. Router, qkv TP8, output projection TP2 and TP1.
TUNED_SHAPES = {
    (16, 128, 2880): "wvSplitKrc",
    (64, 640, 2880): "wvSplitKrc",
    (16, 2880, 2048): "wvSplitKrc",
    (64, 2880, 4096): "triton",
    (4, 128, 2880): "triton",
    (256, 640, 2880): "triton",
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", TUNED_SHAPES)
def test_tuned_row_wins(shape: tuple[int, int, int], patched: Any, run_source: RunSource) -> None:
    patch = patched("vllm/tuned-gemm-first")
    rows, columns, k = shape
    after = Gpu(run_source, patch.after(PATH), ROW)
    assert after.gemm(activation(rows, k), columns) == "tuned"
    asked = after.root.tuned_gemm.get_GEMM_A16W16_config.call_args.kwargs
    bf16 = "torch.bfloat16"
    assert asked == {"M": rows, "N": columns, "K": k, "bias": True, "dtype": bf16, "otype": bf16}
    assert Gpu(run_source, patch.before(PATH), ROW).gemm(activation(rows, k), columns) == TUNED_SHAPES[shape]


@pytest.mark.slow
@pytest.mark.parametrize("row", [NO_ROW, ROW | {"libtype": "torch"}], ids=["no row", "a row that names torch"])
@pytest.mark.parametrize("shape", TUNED_SHAPES)
def test_otherwise_nothing_changes(
    shape: tuple[int, int, int], row: dict[str, Any], patched: Any, run_source: RunSource
) -> None:
    rows, columns, k = shape
    after = Gpu(run_source, patched("vllm/tuned-gemm-first").after(PATH), row)
    assert after.gemm(activation(rows, k), columns) == TUNED_SHAPES[shape]


def test_one_to_five_rows_stay_with_wvsplitk(patched: Any, run_source: RunSource) -> None:
    gpu = Gpu(run_source, patched("vllm/tuned-gemm-first").after(PATH), ROW)
    assert {rows: gpu.gemm(activation(rows, 2880), 2560) for rows in (1, 5, 6)} == {
        1: "wvSplitK",
        5: "wvSplitK",
        6: "tuned",
    }


def test_a_padded_activation_is_not_copied_for_a_tuned_kernel(patched: Any, run_source: RunSource) -> None:
    gpu = Gpu(run_source, patched("vllm/tuned-gemm-first").after(PATH), ROW)
    assert gpu.gemm(activation(16, 3072)[:, :2880], 128) == "wvSplitKrc"


def test_without_aiter_the_table_is_not_asked(patched: Any, run_source: RunSource) -> None:
    gpu = Gpu(run_source, patched("vllm/tuned-gemm-first").after(PATH), ROW, aiter=False)
    assert gpu.gemm(activation(16, 2880), 128) == "wvSplitKrc"
    gpu.root.tuned_gemm.get_GEMM_A16W16_config.assert_not_called()


def test_batch_invariance_goes_before_the_table(patched: Any, run_source: RunSource) -> None:
    gpu = Gpu(run_source, patched("vllm/tuned-gemm-first").after(PATH), ROW, invariant=True)
    assert gpu.gemm(activation(16, 2880), 128) == "invariant"


@pytest.mark.parametrize(("rows", "taken"), [(8192, "tuned"), (16384, "torch")])
def test_sizes_that_aiters_kernel_cannot_address_are_left_alone(rows: int, taken: str, patched: Any, run_source: RunSource) -> None:
    """16384 rows of 201088 logits are more than int32 offsets reach, which vLLM minds where it takes AITER's GEMM last."""
    gpu = Gpu(run_source, patched("vllm/tuned-gemm-first").after(PATH), ROW)
    gpu.taken = "torch"
    x, weight = (torch.empty(size, 2880, dtype=torch.bfloat16, device="meta") for size in (rows, 201088))
    gpu.impl(x, weight, None)
    assert gpu.taken == taken


@pytest.mark.aiter
def test_aiters_answer_is_what_the_patch_reads(patched: Any) -> None:
    """The premise, in AITER's tree: a row carries `us`, the default does not, and the shipped rows are GPT-OSS's shapes."""
    import ast
    import csv

    tree = patched("aiter/a16w4-two-stages").tree
    lookup = next(
        node
        for node in ast.parse((tree / "aiter/tuned_gemm.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "get_GEMM_A16W16_config"
    )
    names = [argument.arg for argument in lookup.args.args]
    assert names[:6] == ["M", "N", "K", "bias", "dtype", "otype"]
    default = {
        target.slice.value
        for node in ast.walk(lookup)
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Subscript)
        if isinstance(target.slice, ast.Constant) and ast.unparse(target.value) == "default_config"
    }
    assert "libtype" in default and "us" not in default
    with (tree / "aiter/configs/model_configs/gptoss_bf16_tuned_gemm.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["gfx"] == "gfx950"]
    assert all(float(row["us"]) > 0 for row in rows)
    shapes = {(int(row["N"]), int(row["K"])) for row in rows}
    assert {(128, 2880), (5120, 2880), (640, 2880), (2880, 4096), (2880, 512)} <= shapes
