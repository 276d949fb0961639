#!/bin/bash
# vLLM's CUDA wheel: the libraries need far less of torch than the wheel's metadata.
#
# Guess written down before: a wheel that requires torch==2.14.0 holds compiled code that torch 2.11.0 cannot load,
#   as every extension built against torch's C++ API does.
# Versions: vllm 0.33.0 (manylinux_2_28_x86_64), torch 2.11.0 (cp312, manylinux_2_28_x86_64); nm of binutils.
# Behaviour: 12 of its 13 libraries are built against torch's stable C interface and find every symbol of torch, c10 and
#   AOTInductor that they name in torch 2.11.0. One does not: _qutlass_C, which only NVFP4/QuTLASS models load. So who
#   is held to an older torch (a node's image) can try the newest vLLM with `pip install --no-deps`, and pip alone refuses.
#   (GPT-OSS-120B's shapes were served so on an H200; that part is not run here.)
# Output seen (2026-11-30): "13 libraries; without torch 2.11.0's symbols: _qutlass_C.abi3.so (3)"
# Downloads about 900 MB and needs 3 GB of room.
set -euo pipefail
command -v nm > /dev/null || { echo "needs nm (binutils)" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 -d . vllm==0.33.0 torch==2.11.0 || exit 2
python3 - <<'PY'
import glob, zipfile

for wheel in glob.glob("*.whl"):
    with zipfile.ZipFile(wheel) as box:
        names = box.namelist()
        for name in names:
            if wheel.startswith("torch") and name.startswith("torch/lib/lib") and name.endswith(".so"):
                box.extract(name)
            elif wheel.startswith("vllm") and (name.endswith(".so") or name.endswith("METADATA")):
                box.extract(name)
PY
rm ./*.whl
grep -qx 'Requires-Dist: torch==2.14.0' vllm-0.33.0.dist-info/METADATA || { echo "CHANGED: the wheel requires another torch" >&2; exit 1; }
for library in torch/lib/*.so; do nm -D --defined-only "$library"; done | awk '{sub(/@.*/, "", $NF); print $NF}' | sort -u > defined
count=0 without=""
while read -r library; do
    count=$((count + 1))
    nm -D --undefined-only "$library" | awk '{sub(/@.*/, "", $NF); print $NF}' | grep -E 'torch|c10|aoti' | sort -u > needed || true
    missing=$(comm -23 needed defined | wc -l)
    [ "$missing" = 0 ] || without="$without $(basename "$library") ($missing)"
done < <(find vllm -name '*.so' | sort)
echo "$count libraries; without torch 2.11.0's symbols:$without"
[ "$count; $without" = "13;  _qutlass_C.abi3.so (3)" ] || { echo "CHANGED: expected 13 libraries, and _qutlass_C alone without three" >&2; exit 1; }
