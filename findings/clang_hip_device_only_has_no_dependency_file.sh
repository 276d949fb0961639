#!/usr/bin/env bash
# clang, HIP for the device alone: -MD -MF writes no dependency file, and the code of one source differs by the name it is written to.
#
# Guess before: `-MD -MF x.d` names the headers of any compilation, and one source with one set of flags gives one code.
# Versions: ziglang 0.17.1 (clang 22.1.8, `zig clang`).
# Behaviour: with --cuda-device-only the driver warns that -MF is unused and ends with 0; there is no x.d. `-Xclang -dependency-file` works.
#   Two outputs of the same source differ in the symbol __hip_cuid_*, a hash that takes in the output's path; -fuse-cuid=none has none.
# Seen 2026-11-30:
#   zig: warning: argument unused during compilation: '-MF x.d' [-Wunused-command-line-argument]
#   no dependency file; a.s and b.s differ in __hip_cuid_ alone
# A build that trusts -MF would never compile again when a header changes; a cache that compares bytes would never agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/python -m pip install --quiet --disable-pip-version-check ziglang==0.17.1 || { echo "pip could not install"; exit 2; }
printf '#define N 3\n' > n.h
printf '#include "n.h"\n__attribute__((global)) void k(int* p) { *p = N; }\n' > a.hip
clang() { v/bin/python -m ziglang clang -x hip --offload-arch=gfx950 --cuda-device-only -nogpuinc -nogpulib -S "$@" a.hip; }
clang -MD -MF x.d -o a.s 2> said
clang -Xclang -dependency-file -Xclang y.d -Xclang -MT -Xclang code -o b.s
cat said
[ ! -e x.d ] || { echo "changed: -MF wrote x.d"; exit 1; }
grep -q "n.h" y.d || { echo "changed: -dependency-file does not name the header"; exit 1; }
cmp -s a.s b.s && { echo "changed: the two outputs are the same"; exit 1; }
cmp -s <(sed 's/__hip_cuid_[0-9a-f]*//g' a.s) <(sed 's/__hip_cuid_[0-9a-f]*//g' b.s) || { echo "changed: they differ elsewhere"; exit 1; }
echo "no dependency file; a.s and b.s differ in __hip_cuid_ alone"
