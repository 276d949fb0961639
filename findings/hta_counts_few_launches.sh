#!/usr/bin/env bash
# HTA: its launch statistics know cudaLaunchKernel alone: of a ROCm trace they are empty, Triton's kernels and graphs are in none.
#
# Guess, written down before (2026-12-01): HTA reads a ROCm trace as a CUDA one; a launch that it does not know is left out with a warning.
# Versions: HolisticTraceAnalysis 0.5.0, pandas 3.1.1, numpy 2.4.6, CPython 3.11.7, Linux, no GPU. The traces have torch's profiler's form.
# Behaviour: get_cuda_kernel_launch_stats takes cudaLaunchKernel and cudaLaunchKernelExC by name. hipLaunchKernel is none of them, so of a
#   ROCm trace the table is empty; cuLaunchKernelEx (Triton on CUDA) and the graphs are left out of a CUDA trace's. The queue length counts
#   hipLaunchKernel and hipExtModuleLaunchKernel, and not hipModuleLaunchKernel (Triton on ROCm), hipGraphLaunch, cuLaunchKernelEx or
#   cudaGraphLaunch: of a decode step in a graph the queue seems empty. No warning of either. The kernels' times are complete.
# Output seen (2026-12-01):
#   cuda: 6 kernels of 4 launches; 6 in the kernel breakdown, 1 in the launch statistics, 2 launches in the queue length
#   hip: 6 kernels of 4 launches; 6 in the kernel breakdown, 0 in the launch statistics, 2 launches in the queue length
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
{ v/bin/pip install --quiet --disable-pip-version-check --no-deps HolisticTraceAnalysis==0.5.0 \
  && v/bin/pip install --quiet --disable-pip-version-check pandas==3.1.1 numpy==2.4.6 plotly==7.1.0 networkx==3.6.1 pydot==4.0.1 psutil==7.2.2 \
       PyYAML==6.0.4
} 2> pip.log || { cat pip.log; exit 2; } >&2

cat > launches.py <<'PYTHON'
import json
import os
import sys
import warnings

from hta.trace_analysis import TraceAnalysis

CASES = {
    "cuda": [("cudaLaunchKernel", ["gemm"]), ("cuLaunchKernel", ["jit_kernel"]), ("cuLaunchKernelEx", ["triton_kernel"]),
             ("cudaGraphLaunch", ["first", "second", "third"])],
    "hip": [("hipLaunchKernel", ["gemm"]), ("hipExtModuleLaunchKernel", ["asm_kernel"]), ("hipModuleLaunchKernel", ["triton_kernel"]),
            ("hipGraphLaunch", ["first", "second", "third"])],
}


def write(folder, launches):
    events = [{"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#1", "pid": 1, "tid": 1, "ts": 990.0, "dur": 3000.0, "args": {}}]
    start = 1050.0
    for at, (name, kernels) in enumerate(launches, 11):
        place = {"ph": "X", "args": {"External id": at, "correlation": at}}
        category = "cuda_driver" if name.startswith("cuLaunch") else "cuda_runtime"
        events.append(place | {"cat": category, "name": name, "pid": 1, "tid": 1, "ts": 900.0 + 10 * at, "dur": 5.0})
        for kernel in kernels:
            args = place["args"] | {"device": 0, "stream": 7}
            events.append(place | {"cat": "kernel", "name": kernel, "pid": 0, "tid": 7, "ts": start, "dur": 20.0, "args": args})
            start += 25.0
    os.makedirs(folder)
    with open(f"{folder}/rank-0.json", "w") as file:
        json.dump({"schemaVersion": 1, "deviceProperties": [], "distributedInfo": {"rank": 0, "world_size": 1}, "traceEvents": events}, file)


found = {}
for name, launches in CASES.items():
    write(name, launches)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = TraceAnalysis(trace_dir=name)
        breakdown = analysis.get_gpu_kernel_breakdown(visualize=False)[1]
        statistics = analysis.get_cuda_kernel_launch_stats(visualize=False)[0]
        lengths = analysis.get_queue_length_time_series()[0]["queue_length"]
    found[name] = (len(breakdown), len(statistics), int((lengths.diff().fillna(lengths) > 0).sum()))
    print(f"{name}: {sum(len(kernels) for _, kernels in launches)} kernels of {len(launches)} launches; {found[name][0]} in the kernel "
          f"breakdown, {found[name][1]} in the launch statistics, {found[name][2]} launches in the queue length")
if found != {"cuda": (6, 1, 2), "hip": (6, 0, 2)}:
    sys.exit("changed: which launches HTA knows")
PYTHON
v/bin/python launches.py 2> python.log || { tail -n 20 python.log; exit 1; } >&2
