#!/usr/bin/env bash
# Triton for gfx950 and gfx942: eviction_policy changes nothing; ".cg" makes a load non-temporal and a store plain.
#
# Guess, written down before (2026-11-30): "evict_first" sets the bit nt of a load and a store; ".cg" means the L2 alone for both, as
#   on sm_90.
# Versions: Triton 3.9.0 (3.7.1 and 3.8.0 by hand, the same), CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: evict_first and evict_last reach no instruction, of a load or a store: the code is the same. What streams past the cache
#   is ".cg" for a load (sc0 nt) and ".cs" for a store; ".cg" of a store is plain. On sm_90 each of them is in the code, and ".cg" is no
#   streaming hint. Whoever ports weights read with evict_first gets an ordinary load, and who tries ".cg" as on NVIDIA non-temporal ones.
# Output seen (2026-11-30): the same for all three versions and both AMD chips: "read none: plain; read evict_first: plain; read evict_last: plain;
#   read .cg: sc0 nt; write evict_first: plain; write evict_last: plain; write .cg: plain; write .cs: sc0 nt"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > hints.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def read(target, source, CACHE: tl.constexpr, EVICT: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(target + at, tl.load(source + at, cache_modifier=CACHE, eviction_policy=EVICT))


@triton.jit
def write(target, source, CACHE: tl.constexpr, EVICT: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(target + at, tl.load(source + at), cache_modifier=CACHE, eviction_policy=EVICT)


def bits(kernel, target, cache, evict):
    signature = {"target": "*i32", "source": "*i32", "CACHE": "constexpr", "EVICT": "constexpr", "N": "constexpr"}
    source = ASTSource(fn=kernel, signature=signature, constexprs={(2,): cache, (3,): evict, (4,): 64})
    asm = triton.compile(source, target=target).asm
    if target.backend == "cuda":
        return re.search(rf"\b{'st' if kernel is write else 'ld'}\.global(\S*)\.b32", asm["ptx"])[1]
    word = "store" if kernel is write else "load"
    return " ".join(re.findall(r"\b(sc0|sc1|nt)\b", re.search(rf"(?:buffer|global)_{word}_dword .*", asm["amdgcn"])[0]))


CASES = [(read, "", ""), (read, "", "evict_first"), (read, "", "evict_last"), (read, ".cg", ""),
         (write, "", "evict_first"), (write, "", "evict_last"), (write, ".cg", ""), (write, ".cs", "")]
found = {}
for target in (GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx950", 64), GPUTarget("hip", "gfx942", 64)):
    for kernel, cache, evict in CASES:
        found[str(target.arch), kernel.__name__, cache or evict or "none"] = bits(kernel, target, cache, evict) or "plain"
    print(f"Triton {triton.__version__} {target.arch}:",
          "; ".join(f"{name} {hint}: {text}" for (arch, name, hint), text in found.items() if arch == str(target.arch)))
amd = {("read", "none"): "plain", ("read", "evict_first"): "plain", ("read", "evict_last"): "plain", ("read", ".cg"): "sc0 nt",
       ("write", "evict_first"): "plain", ("write", "evict_last"): "plain", ("write", ".cg"): "plain",
       ("write", ".cs"): "sc0 nt"}
if any(text != amd[key[1:]] for key, text in found.items() if key[0] != "90"):
    sys.exit(f"changed: the bits that Triton {triton.__version__} sets for AMD")
if any(found["90", name, hint] == "plain" for name in ("read", "write") for hint in ("evict_first", "evict_last", ".cg")):
    sys.exit(f"changed: what Triton {triton.__version__} makes of the hints for sm_90")
PYTHON

for version in ${VERSIONS:-3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore hints.py
    rm -rf "v$version"
done
