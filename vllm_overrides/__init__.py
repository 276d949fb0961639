"""Out-of-tree vLLM plugin: what can be had without a patch, chosen by name in TUNEFORK_OVERRIDES.

    TUNEFORK_OVERRIDES=capture_plan,guards TUNEFORK_CAPTURE_PLAN=conc=4,8,16 vllm serve ...

capture_plan   CUDA graph sizes and compile sizes for a workload        (capture/: the planner and the override)
guards         explains environment names that do nothing               (guards.py)
moe_a16w4      this project's MXFP4 MoE kernel as GPT-OSS's MoE method  (moe_a16w4/; needs tunefork.kernels installed beside it)
random_mxfp4   a load format: random weights at realistic scale         (random_mxfp4.py; for measuring without a checkpoint)

It is loaded into vLLM's front end, engine and workers: beside tunefork.base's facts, which are names and numbers, only moe_a16w4 imports more of Tunefork.
"""
