"""The real clang over real HIP for gfx950: facts of the code, and that a rebuild after each kind of change gives a clean build's code."""

import gzip
from dataclasses import replace

import pytest

from tunefork.base.layout import Layout
from tunefork.base.process import quiet
from tunefork.develop.gfx950.compile_only import compile_only as native
from tunefork.develop.gfx950.compile_only import toolchain
from tunefork.develop.gfx950.compile_only.last_good import LastGood
from tunefork.develop.gfx950.compile_only.unit import Unit
from tunefork.develop.machine import probe

MACHINE = probe()
HERE, WHAT = toolchain.described(Layout.here(), MACHINE)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not HERE, reason=f"NOT TESTED: no HIP compiler for gfx950: {WHAT}")]

HEADER = "#pragma once\n#include <hip/hip_fp16.h>\ntemplate <typename T> __device__ T twice(T x) { return x + x; }\n"
KERNEL = '#include "twice.h"\n#include <hip/hip_runtime.h>\n__global__ void %(name)s(float* x, int n) {\n  int i = blockIdx.x * blockDim.x + threadIdx.x;\n  if (i < n) x[i] = %(value)s;\n}\n'
SOURCES = {
    "twice.h": HEADER, "unused.h": "#pragma once\n", "doubles.cu": KERNEL % {"name": "doubles", "value": "twice(x[i])"},
    "sine.cu": "#include <hip/hip_runtime.h>\n__global__ void sine(float* x) { __shared__ float s[256]; s[threadIdx.x] = x[threadIdx.x]; __syncthreads(); x[threadIdx.x] = sinf(s[255 - threadIdx.x]); }\n",
    "instance_1.cu": '#include <hip/hip_runtime.h>\n#include "twice.h"\ntemplate <int N> __global__ void tile(float* x) { x[threadIdx.x] += twice(N); }\ntemplate __global__ void tile<1>(float*);\n',
}  # fmt: skip


class Tree:
    def __init__(self, folder):
        self.folder, self.runs = folder / "src", 0
        self.folder.mkdir()
        self.layout = Layout(folder, folder / "cache")
        self.tools = toolchain.find(Layout.here(), MACHINE, quiet)
        for name, text in SOURCES.items():
            (self.folder / name).write_text(text)

    def compile(self, layout=None):
        units = [Unit(f"x/{path.name}", path, ("-O2", "-std=c++20"), (str(self.folder),), "x") for path in sorted(self.folder.glob("*.cu"))]
        layout = layout or self.layout
        return {one.name[2:]: one for one in native.compiled(layout, MACHINE, self.tools, units, LastGood.of(layout.work, "x"), 2, quiet)}

    def clean(self):
        """Every file's code as a build from nothing makes it."""
        self.runs += 1
        return codes(self.compile(replace(self.layout, cache=self.layout.cache / str(self.runs))))


def codes(results):
    return {name: gzip.decompress(one.code.read_bytes()) for name, one in results.items()}


def test_what_changed_is_compiled_and_nothing_else(tmp_path):
    tree = Tree(tmp_path)
    first = tree.compile()
    assert {name: (one.state, one.facts.kernels) for name, one in first.items()} == {name: ("compiled", 1) for name in ("doubles.cu", "sine.cu", "instance_1.cu")}
    assert (first["sine.cu"].facts.lds, first["sine.cu"].facts.scratch) == (1024, 0), "Payne-Hanek is in registers"
    assert 0 < first["doubles.cu"].facts.vgprs < 16 and first["doubles.cu"].peak > 50 << 20 and first["doubles.cu"].seconds > 0.1
    before = codes(first)
    for file, text, compiled in (
        ("sine.cu", SOURCES["sine.cu"].replace("255 -", "254 -"), {"sine.cu"}),
        ("twice.h", HEADER.replace("x + x", "x * T(3)"), {"doubles.cu", "instance_1.cu"}),
        ("unused.h", "#pragma once\nint changed;\n", set()),
        ("tool.py", "print()\n", set()),
        ("instance_2.cu", SOURCES["instance_1.cu"].replace("<1>", "<2>"), {"instance_2.cu"}),
    ):
        (tree.folder / file).write_text(text)
        after, clean = tree.compile(), tree.clean()
        assert {name for name, one in after.items() if one.state == "compiled"} == compiled, file
        assert codes(after) == clean, file
        assert {name for name in clean if clean[name] != before.get(name)} == compiled, file
        before = clean


def test_what_does_not_compile_says_the_line(tmp_path):
    tree = Tree(tmp_path)
    (tree.folder / "sine.cu").write_text('#include <hip/hip_runtime.h>\n__global__ void f(float* x) { x[0] = y; }\n')
    (tree.folder / "doubles.cu").write_text("#include <rocprim/rocprim.hpp>\n")
    found = tree.compile()
    assert (found["sine.cu"].state, found["sine.cu"].why) == ("failed", "line 2 of sine.cu, use of undeclared identifier 'y'")
    assert (found["doubles.cu"].state, found["doubles.cu"].why) == ("out of reach", "needs the header rocprim/rocprim.hpp, which is in no place here")
