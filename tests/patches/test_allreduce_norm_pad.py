"""vllm/allreduce-norm-pad: how many norms of GPT-OSS are fused with their all-reduce, and that the numbers stay the same."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

for needed in ("torch", "vllm"):  # the programs beside this file import them; here that would cost every run five seconds
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"NOT TESTED: needs {needed} and vLLM's dependencies (`python3 build.py develop`)", allow_module_level=True)

pytestmark = [pytest.mark.slow]

HERE = Path(__file__).parent
PATCH = "vllm/allreduce-norm-pad"
PASS = "vllm/compilation/passes/fusion/allreduce_rms_fusion.py"
ADDED = "vllm/compilation/passes/fusion/allreduce_rms_pad_fusion.py"
LAYERS, TP = 36, [2, 8]
ONE_STAGE = {1: True, 17: True, 80: True, 81: False}


def program(name: str, *args: Any) -> Any:
    """What one of the programs beside this file prints, as JSON."""
    command = [sys.executable, "-P", str(HERE / name), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def graphs(patched: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's graphs with the patch's pass and with the one before it."""
    patch = patched(PATCH)
    folder = tmp_path_factory.mktemp("graphs")
    before, found = folder / "before.py", folder / "graphs.json"
    before.write_text(patch.before(PASS))
    found.write_text(json.dumps(program("gpt_oss_graph.py", patch.tree, "--tp", *TP, "--layers", LAYERS, "--before", before)))
    return found


def test_every_norm_is_fused(graphs: Path) -> None:
    """Two norms per layer and the last one; without the patch only the first, which neither pads nor follows an MoE."""
    for graph in json.loads(graphs.read_text()):
        assert graph["norms"] == 2 * LAYERS + 1
        assert graph["fused"] == {"before": 1, "after": 2 * LAYERS + 1}, graph["tp"]
        assert sum(piece["count"] for piece in graph["pieces"]) == LAYERS + 1
        for piece in graph["pieces"]:
            left = {name: [node["target"] for node in piece[name]].count("vllm.all_reduce.default") for name in ("before", "after")}
            moe = any("moe_forward" in node["target"] for node in piece["original"])
            assert left == {"before": 2 if moe else 0, "after": 0}


def test_the_pad_goes_through_the_fused_operation(graphs: Path) -> None:
    """Before the MoE the output is padded to 256, after it the padded sum is read as it is and cut by nobody."""
    for graph in json.loads(graphs.read_text()):
        for piece in graph["pieces"]:
            nodes = {node["name"]: node for node in piece["after"]}
            fused = [node["args"] for node in nodes.values() if node["target"] == "vllm.rocm_aiter_fused_allreduce_rmsnorm_pad.default"]
            if not fused:
                continue
            assert [args[3:] for args in fused] == [[1e-05, 256], [1e-05, 0]]
            summed = nodes[fused[1][0]["node"]]["args"]
            assert nodes[summed[0]["node"]]["target"].endswith("vllm.moe_forward.default") and summed[1] == 0


def test_same_numbers_on_two_ranks(graphs: Path, patched: Any) -> None:
    """The replaced graph against the original, where AITER's kernel runs and where the kernels that it replaces do.

    Two bf16 numbers have one rounded sum, so nothing may differ; on more ranks the order of the sum shows.
    """
    source = patched(PATCH).tree / ADDED
    results = program("allreduce_pad_ranks.py", graphs, source, "--tp", 2)["results"]
    assert {(one["tp"], one["piece"], one["tokens"]) for one in results} == {(2, piece, n) for piece in (0, 1) for n in ONE_STAGE}
    for one in results:
        assert one["fused"] == (2 if ONE_STAGE[one["tokens"]] else 0), one
        assert one["error"] == 0, one


@pytest.mark.parametrize(("ranks", "tokens"), [(2, 80), (4, 45), (8, 22)])
def test_bounds_of_the_one_stage_kernel(ranks: int, tokens: int, patched: Any) -> None:
    """The largest batch that is fused, with rows of 2880 bf16."""
    names: dict[str, Any] = {}
    body = ast.parse((patched(PATCH).tree / ADDED).read_text()).body
    exec(ast.unparse(next(node for node in body if getattr(node, "name", None) == "fits_one_stage")), names)
    fits = names["fits_one_stage"]
    assert fits(ranks, True, tokens, 5760) and not fits(ranks, True, tokens + 1, 5760)
    assert fits(ranks, False, 1, 5760) == (ranks == 2)


@pytest.mark.aiter
def test_aiter_takes_both_widths(tree: Any) -> None:
    """The premise, in AITER's source: what the operation passes, the kernel for unequal widths, and zeros in its tail."""
    aiter = tree("aiter")
    python = (aiter / "aiter/dist/device_communicators/custom_all_reduce.py").read_text()
    methods = next(node for node in ast.parse(python).body if getattr(node, "name", None) == "CustomAllreduce").body
    source = {node.name: node for node in methods if isinstance(node, ast.FunctionDef)}
    assert {"use_1stage", "out_hidden_dim"} <= {arg.arg for arg in source["custom_fused_ar_rms"].args.args}
    assert "ops.fused_allreduce_rmsnorm_pad(" in ast.unparse(source["fused_ar_rms"])
    kernel = (aiter / "csrc/include/custom_all_reduce.cuh").read_text().split("allreduce_fusion_kernel_1stage(RankData* _dp,")[1]
    kernel = kernel.split("__global__")[0]
    assert "tidx * input_hidden_dim" in kernel and "tidx * out_hidden_dim" in kernel and "if(active_tail)" in kernel
