"""The facts of a file's code, from the metadata that clang writes."""

from tunefork.develop.gfx950.compile_only.facts import CodeFacts, facts_of

TEXT = """
first:
\ts_load_dword s3, s[0:1], 0x18
\tv_mov_b32_e32 v1, 0 ; a comment
\t.p2align 8
\ts_endpgm
\t.amdgpu_metadata
---
amdhsa.kernels:
  - .agpr_count:     4
    .args:
      - .offset:         0
        .size:           8
        .value_kind:     by_value
      - .offset:         8
        .name:           not_a_kernel
        .size:           4
    .group_segment_fixed_size: 1024
    .name:           first
    .private_segment_fixed_size: 0
    .sgpr_spill_count: 0
    .vgpr_count:     78
    .vgpr_spill_count: 0
  - .agpr_count:     0
    .args:           []
    .group_segment_fixed_size: 0
    .name:           'second'
    .private_segment_fixed_size: 16
    .sgpr_spill_count: 3
    .vgpr_count:     128
    .vgpr_spill_count: 0
amdhsa.target:   amdgcn-amd-amdhsa--gfx950
"""


def test_of_several_kernels_the_most_of_each():
    assert facts_of(TEXT) == CodeFacts(kernels=2, vgprs=128, spilling=1, scratch=16, lds=1024, instructions=3)


def test_a_file_without_kernels():
    assert facts_of("\t.amdgcn_target\n") == CodeFacts()
