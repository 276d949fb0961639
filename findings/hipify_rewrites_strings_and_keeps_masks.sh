#!/bin/bash
# torch's hipify: text in quotes is translated, and the 32-bit lane masks of shuffles are not.
#
# Guess written down before: string literals stay as they are; a full-warp mask becomes 64 bits wide.
# Versions: torch 2.13.0 (torch.utils.hipify), CPython 3.11.7, Linux. No HIP compiler is run.
# Behaviour: names are replaced wherever they stand, so a message "cudaMalloc failed" says "hipMalloc failed" (a test
#   that looks for the message breaks). `__shfl_xor_sync(0xffffffff, ...)` is copied unchanged, with 32 of a wave's 64
#   lanes named; `warpSize`-free code such as `threadIdx.x % 32` too. Both are said nowhere in its report.
# Output seen (2026-11-29): "string: hipMalloc failed; mask: __shfl_xor_sync(0xffffffff, v, 16)"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet torch==2.13.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

mkdir source
cat > source/kernel.cu <<'CUDA'
#include <cuda_runtime.h>
static const char* message = "cudaMalloc failed";
__global__ void sum(float* x) {
  float v = x[threadIdx.x];
  v += __shfl_xor_sync(0xffffffff, v, 16);
  if (threadIdx.x % 32 == 0) x[0] = v;
}
void launch(float* x, cudaStream_t stream) { sum<<<1, 64, 0, stream>>>(x); }
CUDA
v/bin/python - > log <<'PYTHON' || { cat log; exit 1; }
from pathlib import Path

from torch.utils.hipify import hipify_python

folder = Path("source").resolve()
hipify_python.hipify(project_directory=str(folder), output_directory=str(folder), includes=["*"],
                     extra_files=[str(folder / "kernel.cu")], is_pytorch_extension=True)
PYTHON
grep -q 'hipStream_t stream' source/kernel.hip || { echo "changed: the stream's type is not translated" >&2; exit 1; }
string=$(grep -o 'hipMalloc failed' source/kernel.hip || true)
mask=$(grep -o '__shfl_xor_sync(0xffffffff, v, 16)' source/kernel.hip || true)
echo "string: ${string:-unchanged}; mask: ${mask:-changed}"
[ -n "$string" ] && [ -n "$mask" ] || { echo "changed: hipify keeps strings, or widens masks" >&2; exit 1; }
