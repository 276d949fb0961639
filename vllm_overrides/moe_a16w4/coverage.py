"""Which MoE layers the kernel serves. Everything else is refused in words, and vLLM's own method serves it."""

from __future__ import annotations

from typing import Any

BLOCK = 32  # values per MXFP4 scale
ACTIVATION = "SWIGLUOAI"
ROUTING = ("Renormalize", "RenormalizeNaive")  # two names of one thing: softmax over the chosen experts


def refusal(moe: Any, *, named: str = "auto") -> str | None:
    """Why the kernel does not serve a layer, None where it does.

    moe: vLLM's FusedMoEConfig, before sizes are rounded up.  named: the ``--moe-backend`` that means us, besides auto.
    """
    parallel = moe.moe_parallel_config
    reasons = [
        (moe.moe_backend not in ("auto", named), f"--moe-backend {moe.moe_backend} asks for another one"),
        (moe.is_lora_enabled, "LoRA adapts the experts between the two GEMMs, which are one operator here"),
        (parallel.dp_size > 1 or parallel.use_all2all_kernels, "data parallelism dispatches tokens to other ranks"),
        (parallel.enable_eplb, "EPLB moves experts between ranks, and the weights here are prepared once"),
        (moe.is_sequence_parallel, "sequence parallelism splits the tokens"),
        (moe.pcp_size > 1, "prefill context parallelism gathers the tokens"),
        (str(moe.in_dtype) != "torch.bfloat16", f"activations are {moe.in_dtype}, the kernel's are bfloat16"),
        (moe.activation.name != ACTIVATION, f"the activation is {moe.activation.name}, the kernel's is {ACTIVATION}"),
        (moe.routing_method.name not in ROUTING, f"the routing is {moe.routing_method.name}, the kernel's is softmax over the chosen"),
        (not moe.has_bias, "the experts have no biases, the kernel adds them"),
        (moe.hidden_dim % BLOCK != 0, f"the hidden size {moe.hidden_dim} is no multiple of {BLOCK}"),
    ]
    return next((why for refused, why in reasons if refused), None) or device_refusal()


def device_refusal() -> str | None:
    """Why the kernel does not serve on this device, None where it does. No GPU is initialised: the front end asks, too."""
    from vllm.platforms import current_platform

    if current_platform.is_rocm():
        from vllm.platforms.rocm import on_gfx950

        return None if on_gfx950() else "it decodes MXFP4 with instructions that of AMD's GPUs gfx950 has"
    if current_platform.is_cuda():
        found = current_platform.get_device_capability()
        if found is not None and (found.major, found.minor) == (9, 0):
            return None
        return f"of NVIDIA's GPUs it was measured on compute capability 9.0 alone, this is {found and found.as_version_str()}"
    return f"it has no code for {current_platform.device_name}"
