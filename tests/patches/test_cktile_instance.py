"""aiter/cktile-instance: the CK-Tile instance that a tuned row names reaches the launchers, with the block_m that it is built for.

AITER's own ``get_2stage_cfgs`` and stage functions run; stand-ins are the compiled operators and the table's file.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")

pytestmark = pytest.mark.aiter

MODULE = "aiter/fused_moe.py"
INSTANCES = "csrc/ck_tile_gemm_moe_2stages/moe_cktile2stages_common.py"
DUMMY = "swiglu_mxfp4_bf16_cktile"  # what the shipped GPT-OSS rows name
TOKENS, HIDDEN, INTER, EXPERTS, TOP_K = 4, 512, 256, 8, 4
Load = Callable[[str], Any]


@pytest.fixture
def load(run_source: Callable[..., ModuleType]) -> Load:
    """AITER's fused_moe from its source text, over a stand-in for the rest of AITER."""

    def run(source: str) -> Any:
        root = MagicMock(name="aiter")
        root.jit.utils.torch_guard.torch_compile_guard = lambda *_, **__: lambda function: function
        module: Any = run_source(source, root, ("aiter",))
        module.get_cu_num, module.get_gfx_runtime = (lambda: 256), (lambda: "gfx950")
        module.AITER_CONFIGS.AITER_CONFIG_FMOE_FILE = "/nowhere/fmoe.csv"
        module._opus_a8w4.is_opus_a8w4_stage2_kernel.return_value = False
        module._is_mxfp4_kname.return_value = False
        return module

    return run


def metadata(module: Any, names: tuple[Any, Any], tokens: int = TOKENS) -> Any:
    """What AITER chooses for the interleaved SwiGLU path of GPT-OSS when the table's row names these two kernels."""
    types, quant, act = module.dtypes, module.QuantType.per_1x32, module.ActivationType.Swiglu
    shape = (tokens, HIDDEN, INTER, EXPERTS, TOP_K)
    kinds = (types.bf16, types.bf16, types.fp4x2)
    row = {"block_m": 16, "ksplit": 0, "kernelName1": names[0], "kernelName2": names[1], "run_1stage": 0}
    key = ("gfx950", 256, *shape, act, *map(str, kinds), str(quant), True, False)
    module.cfg_2stages = ({key: row}, {})
    return module.get_2stage_cfgs(*shape, *kinds, quant, True, act, False, 0, 0, True, "interleave")


def instances(run_source: Callable[..., ModuleType], source: str, stage: int) -> dict[str, int]:
    """Names of the A16W4 instances that csrc builds for gfx950, with bias and SwiGLU -> their rows per block."""
    module: Any = run_source(f"__file__ = {INSTANCES!r}\n{source}", MagicMock(), ("chip_info",))
    built = getattr(module, f"gemm{stage}_kernels_dict")["a16w4_gfx950"].values()
    for instance in built:
        instance.HasBias, instance.ActOP, instance.QuantType = True, "swiglu", "1x32"
    return {instance.name: instance.MPerBlock for instance in built}


def launched(module: Any, found: Any) -> tuple[str, str]:
    """The names with which both stages reach AITER's compiled operators."""
    x, w1, w2 = torch.zeros(TOKENS, HIDDEN), torch.zeros(EXPERTS, 2 * INTER, HIDDEN), torch.zeros(EXPERTS, HIDDEN, INTER)
    out = torch.zeros(TOKENS, TOP_K, INTER)
    ids = torch.zeros(64, dtype=torch.int32)
    scale = torch.zeros(1)
    module._normalize_bias_for_kernel = lambda bias: bias
    found.stage1(x, w1, w2, ids, ids, ids, out, TOP_K, found.block_m, None, scale, dtype=out.dtype)
    found.stage2(out, w1, w2, ids, ids, ids, x, TOP_K, w2_scale=scale, a2_scale=None, block_m=found.block_m)
    first, second = module.aiter.moe_cktile2stages_gemm1.call_args, module.aiter.moe_cktile2stages_gemm2.call_args
    return first.args[-1], second.kwargs["kernel_name"]


@pytest.mark.slow
def test_named_instances_are_launched(patched: Any, load: Load, run_source: Any) -> None:
    """Each of the instances that csrc builds: by name, with its own rows per block; before the patch, no name and 16 rows."""
    patch = patched("aiter/cktile-instance")
    first, second = (instances(run_source, patch.after(INSTANCES), stage) for stage in (1, 2))
    assert len(first) == len(second) == 12 and set(first.values()) == {16, 32, 64}
    pairs = [(one, two) for one, rows in first.items() for two, same in second.items() if rows == same]
    for names in pairs[:: len(pairs) // 8]:
        after, before = load(patch.after(MODULE)), load(patch.before(MODULE))
        found = metadata(after, names)
        assert found.block_m == first[names[0]] and launched(after, found) == names
        old = metadata(before, names)
        assert old.block_m == 16 and launched(before, old) == ("", "")


@pytest.mark.slow
def test_other_rows_change_nothing(patched: Any, load: Load) -> None:
    """The dummy names of the shipped rows, an empty cell, the other stage's name: chosen by block_m as ever."""
    patch = patched("aiter/cktile-instance")
    for names in [(DUMMY, DUMMY), ("", float("nan")), ("moe_cktile2stages_gemm2_256x32x256x256_x", "")]:
        for tokens, rows in [(4, 16), (2048, 32), (16384, 64)]:
            for source in (patch.after(MODULE), patch.before(MODULE)):
                module = load(source)
                found = metadata(module, names, tokens)
                assert found.block_m == rows and launched(module, found) == ("", "")


def test_one_stage_may_be_named(patched: Any, load: Load) -> None:
    """The other stage is then chosen by the named one's rows."""
    patch = patched("aiter/cktile-instance")
    module = load(patch.after(MODULE))
    name = "moe_cktile2stages_gemm2_256x32x256x256_1x4_16x16x32_3perCU_1x32_HasBias"
    found = metadata(module, (DUMMY, name))
    assert found.block_m == 32 and launched(module, found) == ("", name)


def test_two_heights_are_refused(patched: Any, load: Load) -> None:
    """Both stages read one sorting."""
    module = load(patched("aiter/cktile-instance").after(MODULE))
    with pytest.raises(ValueError, match="CK-Tile stages share one sorting"):
        metadata(module, ("moe_cktile2stages_gemm1_256x16x128x256_x", "moe_cktile2stages_gemm2_256x32x256x256_x"))
