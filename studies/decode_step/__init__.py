"""The dense half of a GPT-OSS-120B decode step, kernel by kernel and chained, beside what vLLM runs there: torch's GEMMs and launches of their own.

    sh studies/decode_step/h200.sh $OUT     one GPU, torch and Triton, nothing else; on NVIDIA and on gfx950; about four minutes

checks every kernel against float32, times it with CUDA graphs over weights rotated past L2, and writes rows as JSON (docs/decode-step.md).
"""
