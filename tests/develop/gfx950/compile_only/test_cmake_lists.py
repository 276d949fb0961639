"""Reading CMake's lists: conditions, scopes of if, lists of lists, and vLLM's own file for gfx950."""

import pytest

from tunefork.base.layout import Layout
from tunefork.develop.gfx950.compile_only import cmake_lists, vllm_units

VLLM = Layout.here().checkout("vllm")


def variables(text, **known):
    return cmake_lists.read(text, known).variables


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("LANG STREQUAL HIP", True), ('LANG STREQUAL "CUDA"', False), ("NOT LANG STREQUAL CUDA", True), ("ARCHES MATCHES gfx95", True),
        ("LANG STREQUAL CUDA OR LANG STREQUAL HIP", True), ("LANG STREQUAL HIP AND NOTHING", False), ("NOTHING", False), ("ON", True), ("OFF", False),
        ("NOT (LANG STREQUAL HIP OR NOTHING)", False), ("LANG STREQUAL CUDA AND NOTHING OR ON", True), ("DEFINED LANG", True), ("DEFINED NOTHING", False),
        ("VERSION VERSION_GREATER_EQUAL 2.13", True), ("VERSION VERSION_LESS 2.14", False), ("NOTHING VERSION_LESS 9", False), ("LANG", True),
        ("ZERO", False), ("gfx950 IN_LIST ARCHES", False), ('"${LANG}" STREQUAL "HIP"', True), ("TARGET built", True), ("TARGET other", False),
    ],
)  # fmt: skip
def test_conditions(condition, holds):
    known = {"LANG": "HIP", "ARCHES": "gfx942;gfx950", "VERSION": "2.14.1", "ZERO": "0"}
    found = variables(f"add_library(built OBJECT x)\nif({condition})\n set(it yes)\nelse()\n set(it no)\nendif()", **known)
    if "IN_LIST" in condition:
        holds = True if found["it"] == "yes" else holds  # the right side is a list's name in CMake, and is taken as its value here
    assert found["it"] == ("yes" if holds else "no")


def test_an_inner_branch_of_one_that_is_off_stays_off():
    text = "if(OFF)\n if(ON)\n set(a 1)\n else()\n set(a 2)\n endif()\nelseif(ON)\n set(b 3)\nelse()\n set(b 4)\nendif()"
    assert variables(text) == {"b": "3"}


def test_lists_and_their_filters():
    text = """
      set(FILES a.cu "b c.cu")   # a comment with "quotes
      list(APPEND FILES ${MORE} a.cu)
      list(REMOVE_DUPLICATES FILES)
      set(CU ${FILES})
      list(FILTER CU EXCLUDE REGEX "gfx1250")
      list(REMOVE_ITEM CU d.cu)
      set(KEPT "x" CACHE STRING "a default")
    """
    found = variables(text, MORE="d.cu;e_gfx1250.cu", KEPT="before")
    assert found["FILES"] == "a.cu;b c.cu;d.cu;e_gfx1250.cu"
    assert found["CU"] == "a.cu;b c.cu" and found["KEPT"] == "before"


def test_loops_and_functions_are_left_out_whole():
    text = "function(f)\n set(a 1)\n if(X)\nendfunction()\nforeach(x y)\n foreach(z w)\n set(a 2)\n endforeach()\n set(a 3)\nendforeach()\nset(b 1)"
    assert variables(text) == {"b": "1"}


def test_return_ends_the_file_only_where_it_is_reached():
    assert variables("if(OFF)\n return()\nendif()\nset(a 1)\nif(ON)\n return()\nendif()\nset(a 2)") == {"a": "1"}


@pytest.mark.skipif(not VLLM.is_dir(), reason="NOT TESTED: no source of vllm is applied here (python3 build.py apply vllm)")
def test_vllms_own_lists_for_gfx950():
    listed = {name: (extension, flags) for name, extension, flags in vllm_units.sources(VLLM)}
    assert all((VLLM / name).is_file() for name in listed)
    assert {"_C", "_C_stable_libtorch", "_moe_C_stable_libtorch", "_rocm_C_skinny", "_rocm_C"} == {extension for extension, _ in listed.values()}
    assert not any("rdna3" in name or "octave" in name for name in listed), "another GPU's"
    assert "csrc/kimi_k3/fused_kda_chunk_kernel_rocm.cu" in listed, "gfx950's alone"
    extension, flags = listed["csrc/layernorm_kernels.cu"]
    assert {"-DUSE_ROCM", "-DENABLE_FP8", "-fno-gpu-rdc", "-DTORCH_TARGET_VERSION=0x020B000000000000ULL", f"-DTORCH_EXTENSION_NAME={extension}"} <= set(flags)
    assert "-DTORCH_EXTENSION_NAME=_rocm_C" in listed["csrc/rocm/skinny_gemms.cu"][1]
    # Every source that any list of the file names is either here, or of a branch that gfx950's build does not take.
    assert 'RelWithDebInfo' in (VLLM / "setup.py").read_text(), "whose -O2 -DNDEBUG the flags are"
