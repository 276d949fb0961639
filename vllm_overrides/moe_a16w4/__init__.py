"""The override `moe_a16w4`: this project's MXFP4 MoE kernel (tunefork.kernels.moe_a16w4) as GPT-OSS's MoE method in vLLM.

    TUNEFORK_OVERRIDES=moe_a16w4 vllm serve ...    ours wherever it covers the layer, vLLM's own elsewhere
    vllm serve --moe-backend tunefork_a16w4        ours or a stop; a patched vLLM only, and no variable is set

Two seams. A vLLM with our patch `mxfp4-backend-by-name` has a registry of MXFP4 MoE backends: ours is entered there, and its name is an entry point
(backend.py) besides. An unpatched 0.33.0 has a registry of quantisation configurations: its ``gpt_oss_mxfp4`` is replaced by a subclass that
differs in the choice of the MoE method alone.

backend.py    the kernel by its name, without the override
coverage.py   which layers the kernel serves, and why not the others
method.py     the MoE method: weights at load, one operator per step
operator.py   that operator, registered with a fake
live.py       the device-side count of live rows in a padded CUDA graph

Remove when: the kernel is a backend of vLLM's.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunefork.base.upstream_facts.vllm import PLUGINS, QUANTIZATION
from vllm_overrides.errors import OverrideError
from vllm_overrides.registry import Change, require_kernels

BACKEND = "tunefork_a16w4"
REGISTRY = f"vllm.model_executor.layers.quantization's {QUANTIZATION!r}"
HOOK = "vllm.model_executor.layers.fused_moe.oracle.mxfp4_out_of_tree"


def override(environ: Mapping[str, str]) -> MoeA16w4:
    """The override. Raises OverrideError where the kernels are not installed beside the plugin."""
    del environ  # it has no settings
    require_kernels("moe_a16w4", "moe_a16w4")
    return MoeA16w4()


def has_hook() -> bool:
    """Whether this vLLM carries the registry of out-of-tree MXFP4 backends."""
    try:
        importlib.import_module(HOOK)
    except ModuleNotFoundError as error:
        if not f"{HOOK}.".startswith(f"{error.name}."):
            raise  # something that the hook itself needs is missing
        return False
    return True


@dataclass(frozen=True)
class MoeA16w4:
    """Puts our MoE method where this vLLM chooses one."""

    name: str = "moe_a16w4"

    def targets(self) -> Sequence[str]:
        if has_hook():
            return (f"{HOOK}[{BACKEND!r}]",)
        held = replaced()
        if held is not None and not held.__module__.startswith("vllm_overrides."):
            raise OverrideError(
                f"moe_a16w4 and {held.__module__}.{held.__qualname__} both replace {REGISTRY}",
                f"take moe_a16w4 out of TUNEFORK_OVERRIDES, or the plugin that holds {held.__module__} out of {PLUGINS}",
            )
        return (REGISTRY,)

    def apply(self) -> Sequence[Change]:
        """Register through the hook, else through the quantisation registry. A second call changes nothing."""
        if has_hook():
            return by_hook()
        if replaced() is not None:
            return ()
        from vllm.model_executor.layers.quantization import get_quantization_config, register_quantization_config

        from vllm_overrides.moe_a16w4.method import A16w4GptOssConfig

        old = get_quantization_config(QUANTIZATION)
        register_quantization_config(QUANTIZATION)(A16w4GptOssConfig)
        return (Change(REGISTRY, old.__qualname__, A16w4GptOssConfig.__qualname__),)


def replaced() -> type | None:
    """What stands in the quantisation registry in place of vLLM's own class."""
    from vllm.model_executor.layers import quantization

    found: type | None = quantization._CUSTOMIZED_METHOD_TO_QUANT_CONFIG.get(QUANTIZATION)
    return found


def by_hook() -> Sequence[Change]:
    """Enter our backend in the patched vLLM's registry; under ``--moe-backend auto`` it is asked first."""
    hook = importlib.import_module(HOOK)
    if BACKEND in hook.registered():
        return ()
    from vllm_overrides.moe_a16w4.method import method_or_reason

    hook.register_mxfp4_moe_backend(BACKEND, method_or_reason, auto=True)
    return (Change(f"{HOOK}[{BACKEND!r}]", "nothing", "A16w4MoEMethod"),)
