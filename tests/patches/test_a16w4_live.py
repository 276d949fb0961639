"""GPT-OSS on vLLM's backend aiter_triton_mxfp4_bf16 with both series: AITER's function, its arguments, its gfx950 code's result, at each TP size.

Of vllm/a16w4-triton-keywords and vllm/a16w4-triton-unpadded together with AITER's a16w4 patches: ``a16w4_live.py`` runs vLLM's classes and AITER's kernels.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")
pytest.importorskip("triton", reason="NOT TESTED: needs triton (`python3 build.py develop`)")

from studies.a16w4.__main__ import TOLERANCE
from studies.a16w4.tree import extract

if importlib.util.find_spec("vllm") is None:  # importing it here would cost every run five seconds
    pytest.skip("NOT TESTED: needs vLLM's dependencies (`python3 build.py develop`)", allow_module_level=True)
pytestmark = [pytest.mark.aiter, pytest.mark.slow]

KEYWORDS, UNPADDED, SERIES = "vllm/a16w4-triton-keywords", "vllm/a16w4-triton-unpadded", "aiter/a16w4-dead-rows"
PATH = "vllm/model_executor/layers/fused_moe/experts/aiter_mxfp4_w4a16_moe.py"
LIVE, STORED = {1: 2880, 2: 1440, 4: 736, 8: 384}, {1: 3072, 2: 1536, 4: 768, 8: 512}
ROUNDED = "round_up(\n            config.intermediate_size_per_partition_unpadded, OCP_MX_BLOCK_SIZE\n        )"


def program(*words: Any) -> dict[str, Any]:
    """What a16w4_live.py found."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("a16w4_live.py")), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def aiter(patched: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AITER's Triton sources with its whole a16w4 series."""
    patch = patched(SERIES)
    return extract(patch.tree, patch.commit, tmp_path_factory.mktemp("aiter"))


@pytest.fixture(scope="module")
def called(patched: Any, aiter: Path) -> dict[str, Any]:
    """The calls at GPT-OSS-120B's sizes; nothing is executed but the routing."""
    return program(patched(UNPADDED).tree, aiter)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_the_call(called: dict[str, Any], tp: int) -> None:
    """Sizes, weights with K contiguous, scales swizzled up to TP2 and plain from TP4 on, both as the kernel reads them."""
    found, live, stored = called[str(tp)], LIVE[tp], STORED[tp]
    assert (found["method"], found["experts"]) == ("GptOssMxfp4MoEMethod", "AiterW4A16ExpertsMonolithic") and "fault" not in found
    for call, (n, k, unpadded_n, unpadded_k) in zip(found["calls"], ((2 * stored, 3072, 2 * live, 2880), (3072, stored, 2880, live)), strict=True):
        assert not {"backend", "expert_map", "gate_valid"} & set(call), "the pinned AITER takes none of them"
        assert (call["unpadded_N"], call["unpadded_K"]) == (unpadded_n, unpadded_k)
        assert call["w"]["shape"][1:] == [k // 2, n] and call["w"]["stride"][1:] == [1, k // 2]
        assert call["x"]["shape"][1] == k and call["bias"]["dtype"] == "float32"
        if tp <= 2:
            assert call["swizzle_mx_scale"] == "CDNA4_SCALE"
            assert call["w_scales"]["shape"][1:] == [k, n // 32] and call["w_scales"]["stride"][1:] == [1, k]
        else:
            assert call["swizzle_mx_scale"] is None
            assert call["w_scales"]["shape"][1:] == [k // 32, n] and call["w_scales"]["stride"][1:] == [n, 1]
    first, second = found["calls"]
    assert (first["apply_swiglu"], first["alpha"], first["limit"], first["swiglu_add_residual"]) == (True, 1.702, 7.0, True)
    assert first["gammas"] is None and second["gammas"] is not None and "scatter_indx" in second


def test_what_this_aiter_cannot_do_is_refused(called: dict[str, Any]) -> None:
    """When the backend is chosen, in vLLM's sentence: one line, with the remedy."""
    said = called["refused"]
    assert said["tensor parallel"] == "AITER_TRITON_MXFP4_BF16"
    assert "since the installed AITER's moe_gemm_a16w4 does not take expert_map and gate_valid" in said["expert parallel"]
    assert "leave out --enable-expert-parallel" in said["expert parallel"]
    assert "since the installed AITER has no moe_gemm_a16w4" in said["without the function"] and "\n" not in said["without the function"]


def test_the_result_is_the_references(patched: Any, aiter: Path) -> None:
    """Routing, both GEMMs and the sum as gfx950 code, poisoned where nothing is written: what fp32 gives, at every TP size."""
    found = program(patched(UNPADDED).tree, aiter, "--execute")
    for tp in (1, 2, 4, 8):
        assert "fault" not in found[str(tp)] and found[str(tp)]["error"] <= TOLERANCE, (tp, found[str(tp)])


def test_without_the_keywords_patch_the_first_call_fails(patched: Any, aiter: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.py"
    before.write_text(patched(KEYWORDS).before(PATH))
    found = program(patched(KEYWORDS).tree, aiter, "--tp", 8, "--before", before)["8"]
    assert found["fault"].startswith("TypeError") and "backend" in found["fault"]


def test_the_configurations_own_size_gives_wrong_results(patched: Any, aiter: Path, tmp_path: Path) -> None:
    """What rounding up to the loader's blocks is for: without it live channels are left out."""
    text = patched(UNPADDED).after(PATH)
    assert text.count(ROUNDED) == 1
    mutated = tmp_path / "mutated.py"
    mutated.write_text(text.replace(ROUNDED, "config.intermediate_size_per_partition_unpadded"))
    found = program(patched(UNPADDED).tree, aiter, "--tp", 8, "--execute", "--before", mutated)["8"]
    assert found["error"] > 5 * TOLERANCE
