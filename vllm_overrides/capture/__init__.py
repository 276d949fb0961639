"""The capture planner: a workload and a cost model in, CUDA graph sizes out; but for override.py free of vLLM and of any GPU.

workload.py  how many steps run at which batch size (simulated, or from a trace: trace.py)
cost.py      how long a step takes, as a function of its live and its padded rows
rules.py     what the pinned vLLM makes of a list of sizes: drops, rejects, pads, FULL or PIECEWISE
optimum.py   the exact optimum
waste.py     what a list costs a workload
plan.py      all of it from one set of options; JSON and YAML
override.py  the override capture_plan, which sets a plan in vLLM's configuration
"""
