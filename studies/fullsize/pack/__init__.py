"""vLLM's CUDA wheel and what it needs, small enough to carry to a machine that has torch and no network.

    python3 -m studies.fullsize.pack OUT      vllm.txz, site.txz, setup.sh, run.sh and README.md; 360 MB are downloaded through pip

docs/serving-h200.md says what is measured with it. `lock.txt` holds what is packed, by hash; `--relock` writes it anew from `machine.txt` and
`left_out.txt`.
"""
