"""The pinned vLLM: file names are of its source."""

from __future__ import annotations

RELEASE = "0.33.0"
"""The release whose source these facts, and the overrides, were read in."""

# Starting it.
MAIN = "vllm.entrypoints.cli.main"
"""``python -m`` this is the command `vllm`."""
LONGEST = "max_model_len"  # of an entry of MODELS
HEALTH, MODELS, COMPLETIONS, CHAT_COMPLETIONS = "/health", "/v1/models", "/v1/completions", "/v1/chat/completions"
METRICS = "/metrics"
PREFIX_CACHING = r'^vllm:cache_config_info\{[^}]*\benable_prefix_caching="(True|False)"'
"""In the text of METRICS: whether a prompt that begins as an earlier one is answered faster (v1/metrics/loggers.py)."""
CACHED_TOKENS = r"^(?:vllm:prefix_cache_hits|sglang:cached_tokens|trtllm\w*cache_hit)\w*(?:\{[^}]*\})? ([0-9.eE+]+)$"
"""A counter of tokens that came from such a cache, of this server or of others with --base-url."""
START_PROFILE, STOP_PROFILE = "/start_profile", "/stop_profile"
PLUGIN_GROUP, PLUGINS = "vllm.general_plugins", "VLLM_PLUGINS"
"""The group of entry points that every process loads, and the variable that chooses among them."""
PLATFORM_PLUGINS = "vllm.platform_plugins"
"""The group of entry points of which an installed one is the platform, before those that vLLM has."""

# Building it (setup.py).
TARGET_DEVICE, VERSION_OVERRIDE, PRECOMPILED_WHEEL = "VLLM_TARGET_DEVICE", "VLLM_VERSION_OVERRIDE", "VLLM_PRECOMPILED_WHEEL_LOCATION"
VERSION_FILE = "_version.py"
"""In the package's folder; git ignores it."""

# Variables.
ENVS = "vllm/envs.py"
UNIFIED_ATTENTION = "ROCM_AITER_UNIFIED_ATTN"
"""The --attention-backend that guides mean by the variables of that name."""
_UNIFIED = f"choose the kernel with --attention-backend {UNIFIED_ATTENTION}"
WITHOUT_EFFECT = {
    "VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4": "vLLM has no such variable: AITER's MoE takes bf16 activations (A16W4) by itself below 256 tokens; unset it",
    "VLLM_USE_AITER_UNIFIED_ATTENTION": f"vLLM has no such variable; {_UNIFIED}",
    "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION": f"vLLM reads it, but nothing asks for the value; {_UNIFIED}",
}
"""Names that guides for this hardware give, and what a user of them wants instead."""
READ_ELSEWHERE = frozenset({VERSION_OVERRIDE, "VLLM_REQUIRE_RUST_FRONTEND", "VLLM_PRECOMPILED_WHEEL_VARIANT", "VLLM_PRECOMPILED_WHEEL_COMMIT",
                            "VLLM_ROCM_WHEEL_INDEX", "VLLM_DISABLE_SCCACHE", "VLLM_RS_BUILD_VERSION"})  # fmt: skip
"""Read by setup.py or tools/build_rust.py, and not in envs.py."""

# GPT-OSS.
ARCHITECTURE, QUANTIZATION = "GptOssForCausalLM", "gpt_oss_mxfp4"
MOE_PARAMETERS = ("w13_weight", "w13_weight_scale", "w13_bias", "w2_weight", "w2_weight_scale", "w2_bias")
"""Of a layer with MXFP4 experts, in the order of prepare_weights."""
AITER_PADDING = 256
"""Both sizes of GPT-OSS's experts are rounded up to this for AITER's MXFP4 MoE (fused_moe/oracle/mxfp4.py)."""
LARGEST_CAPTURE = 1024
"""max_cudagraph_capture_size that GptOssForCausalLMConfig sets where the user sets no sizes (models/config.py)."""
MAX_NUM_SEQS, MAX_NUM_BATCHED_TOKENS = 1024, 16384
"""Defaults of an API server on a GPU with 160 GiB or more (engine/arg_utils.py)."""

# The answer of `vllm bench serve --save-detailed` (benchmarks/serve.py).
COUNTS = ("completed", "failed", "total_input_tokens", "total_output_tokens", "duration")
RATES = ("request_throughput", "output_throughput", "total_token_throughput")
LATENCIES = ("ttft", "tpot", "itl", "e2el")
PERCENTILES = tuple(f"{kind}_{name}_ms" for name in LATENCIES for kind in ("mean", "median", "p99"))
"""With --percentile-metrics of all LATENCIES and --metric-percentiles 99."""
OF_EACH_REQUEST = ("ttfts", "itls", "input_lens", "output_lens", "start_times")

# Its log, as regular expressions, and its profiler's marks.
LOADED = r"Model loading took .* and ([\d.]+) seconds"
COMPILED = r"torch\.compile took ([\d.]+) s in total"
CAPTURED, GRAPHS_GIB = r"Graph capturing finished in ([\d.]+) secs", r"Graph capturing finished in .* took ([\d.]+) GiB"
FROM_COMPILE_CACHE = "Directly load AOT compilation from path"
KEPT_MODEL = r"(?:Directly load AOT compilation from path|saved AOT compiled function to) \S*?/torch_aot_compile/([0-9a-f]+)/"
STEP = r"execute_(?:context_|\d+_context_)(\d+)\(.*?\)_generation_(\d+)\("
"""A step's annotation in a trace: requests in prefill, requests in decode (v1/worker/gpu_worker.py)."""
GRAPH_STEPS = r"\|\s*(\d+)\s*\|\s*\d+\s*\|\s*\d+\s*\|\s*(?:FULL|PIECEWISE|NONE)\s*\|\s*(\d+)\s*\|"
"""A row of the --cudagraph-metrics table: unpadded tokens, count (compilation/cuda_graph.py)."""
CPU_GEMMS = ("_C::onednn_mm", "_C::weight_packed_linear", "zentorch::zentorch_linear_unary", "aten::linear")
"""The operators of a product on a CPU: oneDNN's, on AMX, of Zen's library, where there is none of them (model_executor/layers/utils.py)."""
