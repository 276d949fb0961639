#!/bin/sh
# usage: sh studies/decode_step/h200.sh OUT [python]     from the repository's root, on a machine with one GPU, torch and Triton
set -u
out=$1
python=${2:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 TRITON_CACHE_DIR="${TRITON_CACHE_DIR:-/tmp/decode-step-cache}"
for part in 0 1 2 3 4 5 6 7 8 9 10 11 12; do
    timeout 120 "$python" -m studies.decode_step warm --part "$part" --parts 13 >"$out/warm.log" 2>&1 &
done
timeout 100 "$python" -m studies.decode_step check --out "$out/check.jsonl" >/dev/null || echo "check failed: $?"
wait
timeout 150 "$python" -m studies.decode_step chain --rounds 10 --out "$out/chain.jsonl" || echo "chain failed: $?"
timeout 60 "$python" -m studies.decode_step trace --out "$out/trace.jsonl" >/dev/null || echo "trace failed: $?"
timeout 200 "$python" -m studies.decode_step time --seconds 100 --rounds 12 --out "$out/ops.jsonl" >/dev/null || echo "time failed: $?"
