"""HIP kernels of the applied vLLM, executed: each case holds, and seeded faults are caught. Their code is what `kernels gate --native` compiled last."""

import gzip
import re
from dataclasses import replace

import pytest

from tunefork.base.errors import MissingTool, SourceError
from tunefork.base.layout import Layout
from tunefork.base.process import quiet
from tunefork.develop.gfx950.compile_only import code_cache, toolchain, vllm_units
from tunefork.develop.machine import probe
from tunefork.kernels.amdgcn.errors import Gfx950Error
from tunefork.kernels.amdgcn.native import cases as native
from tunefork.kernels.amdgcn.native.gate import absent, gate, judge
from tunefork.kernels.amdgcn.native.hip_kernel import HipKernel

LAYOUT, CASES = Layout.here(), native.cases()
COMPILE = "python3 build.py kernels gate --native compiles it"


@pytest.fixture(scope="module")
def codes():
    """source -> its assembly out of the cache, for the applied vLLM as it is."""
    checkout = LAYOUT.checkout("vllm")
    if not checkout.is_dir():
        pytest.skip("NOT TESTED: no source of vllm is applied here (python3 build.py apply vllm)")
    here, what = toolchain.described(LAYOUT, probe())
    if not here:
        pytest.skip(f"NOT TESTED: no HIP compiler for gfx950: {what}")
    try:
        tools = toolchain.find(LAYOUT, probe(), quiet)
    except (MissingTool, SourceError) as error:
        pytest.skip(f"NOT TESTED: no HIP compiler for gfx950: {error.message}")
    units = {unit.name: unit for unit in vllm_units.units(LAYOUT, checkout, tools, quiet)}
    found = {}
    for source in {case.source for case in CASES}:
        kept = code_cache.find(code_cache.shelf(LAYOUT.cache, units[source], tools), units[source])
        if kept is not None:
            found[source] = kept["text"]
    return found


@pytest.fixture(scope="module")
def text_of(codes):
    texts = {}

    def text(source):
        if source not in codes:
            pytest.skip(f"NOT TESTED: no HIP compiler for gfx950: {source} is not in the cache, {COMPILE}")
        if source not in texts:
            texts[source] = gzip.decompress(codes[source].read_bytes()).decode()
        return texts[source]

    return text


def case(label):
    return next(one for one in CASES if one.label.startswith(label))


@pytest.mark.slow
@pytest.mark.parametrize("one", CASES, ids=lambda one: one.label)
def test_a_native_kernel_computes_its_reference(one, text_of):
    row = judge(one, text_of(one.source))
    assert row.ok, row.failure
    assert row.error <= one.tolerance and row.instructions > 1000
    assert all(0 < facts["vgprs"] <= 512 for facts in row.facts)


def kernel_text(text, name):
    """(before, the kernel's own lines, after)."""
    start = text.index(f"\n{name}:")
    end = text.index(".Lfunc_end", start)
    return text[:start], text[start:end], text[end:]


FAULTS = [
    ("rms_norm 2", r"\ts_waitcnt vmcnt\(0\)[^\n]*\n", ""),
    ("rms_norm 2", r"\ts_barrier\n", ""),
    ("rms_norm 2", r"\tv_rsq_f32_e32", r"\tv_rcp_f32_e32"),
    ("topkGating 9", r"\tv_exp_f32_e32", r"\tv_log_f32_e32"),
    ("topkGating 9", r"\tds_bpermute_b32 (v\d+), (v\d+), (v\d+)", r"\tv_mov_b32_e32 \1, \3"),
    ("topkGating 9", r"\tv_cmp_gt_f32_e", r"\tv_cmp_ge_f32_e"),
    ("wvSplitKrc 16", r"\tv_mfma_f32_16x16x32_bf16 ([^\n]*)\n", ""),
    ("wvSplitKrc 16", r"\ts_barrier\n", ""),
    ("wvSplitKrc 16", r"\ts_waitcnt (vmcnt\(0\)|lgkmcnt\(0\))[^\n]*\n", ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("label", "pattern", "put"), FAULTS, ids=[f"{label}-{number}" for number, (label, _, _) in enumerate(FAULTS)])
def test_a_seeded_fault_is_caught(label, pattern, put, text_of):
    one = case(label)
    text = text_of(one.source)
    run = native.Run(text)
    assert one.check(run) <= one.tolerance
    before, body, after = kernel_text(text, run.kernels[0].name)
    caught = 0
    places = list(re.finditer(pattern, body))
    assert places, "the pattern is nowhere: seed another fault"
    for place in places[:4]:
        seeded = body[: place.start()] + re.sub(pattern, put, place[0], count=1) + body[place.end() :]
        caught += not judge(one, before + seeded + after).ok
    assert caught, f"none of {len(places[:4])} was caught"


@pytest.mark.slow
def test_the_stride_decides_what_is_read(text_of):
    """Told the wrong stride, wvSplitKrc reads the NaN between the rows: so its strided case proves the stride."""
    text = text_of(native.SKINNY)
    right, wrong = native.Run(text), native.Run(text)
    assert native.split_k_router(right, 16, native.HIDDEN + 1216) <= native.BF16_STEP
    plain = HipKernel.run

    def lies(kernel, grid, block, *arguments, **how):
        return plain(kernel, grid, block, *arguments[:2], ("i", native.HIDDEN), *arguments[3:], **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HipKernel, "run", lies)
        assert not native.split_k_router(wrong, 16, native.HIDDEN + 1216) <= native.BF16_STEP


def test_what_did_not_compile_fails_by_name():
    one = CASES[0]
    row = absent(one, "needs the header x.h, which is in no place here")
    assert not row.ok and one.source in row.failure and "x.h" in row.failure
    assert not gate([one], {one.source: "gone"}, workers=1)[0].ok


def test_a_kernel_that_is_not_there_or_refused_is_a_failure_and_no_crash():
    row = judge(replace(CASES[0]), "\t.amdgcn_target \"amdgcn-amd-amdhsa--gfx950\"\n")
    assert not row.ok and "BadAssembly" in row.failure
    with pytest.raises(Gfx950Error):
        HipKernel.matching("", "nothing")
