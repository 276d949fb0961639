"""Out-of-tree vLLM plugin: what can be had without a patch, chosen by name in TUNEFORK_OVERRIDES.

    TUNEFORK_OVERRIDES=capture_plan,guards TUNEFORK_CAPTURE_PLAN=conc=4,8,16 vllm serve ...

capture_plan   CUDA graph sizes and compile sizes for a workload        (capture_plan.py; the planner is capture/)
guards         explains environment names that do nothing               (guards.py)

This package stands alone: it is loaded into vLLM's front end, engine and workers, where nothing else of Tunefork need be installed.
"""
