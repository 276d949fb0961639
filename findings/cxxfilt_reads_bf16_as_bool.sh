#!/usr/bin/env bash
# cxxfilt: the name of a kernel that takes __bf16 reads "bool _Accum"; c++filt on the same machine reads std::bfloat16_t.
#
# Guess, written down before (2026-11-30): _Z5scalePDF16b is scale(std::bfloat16_t*) in both, and itanium_demangler says None or "DF16b".
# Versions: cxxfilt 0.3.0 with libstdc++ 6.0.30 (GCC 12), itanium_demangler 1.1, binutils 2.40 (Debian 12, no pip), CPython 3.11.7.
# Behaviour: cxxfilt asks the libstdc++ of the machine. GCC 12's takes DF for a fixed point type of 16 bits and b for bool: no
#   error, a wrong type; of a constant of that type it reads the digits wrong, and a vector of 8 or a _Float16 (DF16_) is InvalidName.
#   clang from 17 on, and so HIP, mangles __bf16 like this. itanium_demangler raises a KeyError. So a table of kernels by their types,
#   made from one profile on two machines, has different rows.
# Output seen (2026-11-30): "_Z5scalePDF16b: cxxfilt scale(bool _Accum*), itanium_demangler KeyError, c++filt scale(std::bfloat16_t*)",
#   "_Z5scaleDF16_: cxxfilt InvalidName, itanium_demangler KeyError, c++filt scale(_Float16)",
#   "_Z5scaleILDF16b3f80EEvv: cxxfilt void scale<(bool _Accum)80>(), itanium_demangler KeyError, c++filt void scale<(std::bfloat16_t)[3f80]>()"
set -euo pipefail
command -v c++filt > /dev/null || { echo "NOT TRIED: c++filt is not installed"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check cxxfilt==0.3.0 itanium-demangler==1.1 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import subprocess
import sys

import cxxfilt
import itanium_demangler

READERS = {
    "cxxfilt": cxxfilt.demangle,
    "itanium_demangler": itanium_demangler.parse,
    "c++filt": lambda name: subprocess.run(["c++filt", name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip(),
}


def read(reader, name):
    try:
        return str(reader(name))
    except Exception as error:
        return type(error).__name__


found = {}
for name in ("_Z5scalePDF16b", "_Z5scaleDF16_", "_Z5scaleILDF16b3f80EEvv", "_Z5scalePf"):
    found[name] = [read(reader, name) for reader in READERS.values()]
    print(f"{name}:", ", ".join(f"{reader} {text}" for reader, text in zip(READERS, found[name])))
if found != {"_Z5scalePDF16b": ["scale(bool _Accum*)", "KeyError", "scale(std::bfloat16_t*)"],
             "_Z5scaleDF16_": ["InvalidName", "KeyError", "scale(_Float16)"],
             "_Z5scaleILDF16b3f80EEvv": ["void scale<(bool _Accum)80>()", "KeyError", "void scale<(std::bfloat16_t)[3f80]>()"],
             "_Z5scalePf": ["scale(float*)"] * 3}:
    sys.exit("changed: what the three make of these names")
PYTHON
