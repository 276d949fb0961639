#!/bin/sh
# usage: sh studies/moe_peers/parts.sh PART OUT [python]      from the repository's root, on a machine with an H200, torch and Triton
# One call of the device a part, each at most 400 s; rows in OUT/*.jsonl, what matters at the end of standard output (under 12,000 characters).
# Peers: a folder on PYTHONPATH with triton_kernels, humming (and nvcc on PATH) and vllm/_moe_C*.so, each left out and named where it is absent.
set -u
part=$1
out=$2
python=${3:-python3}
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 TRITON_CACHE_DIR="${TRITON_CACHE_DIR:-/tmp/moe-peers-cache}"
say() { tail -c "$2" "$1"; }
study() { # study SECONDS NAME WORDS...
    limit=$1; name=$2; shift 2
    timeout "$limit" "$python" -m studies.moe_peers "$@" --out "$out/$name.jsonl" >"$out/$name.log" 2>&1 || echo "$name ended with $?"
    grep -v '"rounds": 0' "$out/$name.log" | cut -c1-220 >"$out/$name.short" || true
    say "$out/$name.short" 5500
}
warm() { # warm SECONDS WORDS...: our kernels of these sizes, in parallel, before their cells are timed
    limit=$1; shift
    timeout "$limit" "$python" -m tunefork.kernels.warming sm90 --live 0 "$@" 2>&1 | tail -n 2
}
tests() { # tests SECONDS NAME WORDS...
    limit=$1; name=$2; shift 2
    timeout "$limit" "$python" -m pytest -q -p no:cacheprovider tests/kernels/test_moe_a16w4_gpu.py "$@" >"$out/$name.log" 2>&1 || echo "$name ended with $?"
    say "$out/$name.log" 2500
}
case $part in
    repeats) # 380 s: first of all, no time counts before
        study 130 repeats repeats --seconds 110
        tests 120 raced -k "raced_repeats_bit_for_bit or replay_follows_its_inputs_and_repeats_bit_for_bit"
        tests 130 space64 -k "space_of_the_tuner_repeats_bit_for_bit and 360-64"
        ;;
    space8) tests 390 space8 -k "space_of_the_tuner_repeats_bit_for_bit and 360-1024" ;;
    space1) tests 390 space1 -k "space_of_the_tuner_repeats_bit_for_bit and 2880-1024" ;;
    clocks) study 60 clocks clocks --tp 1 --tokens 16384 ;;
    table8)
        warm 70 --intermediate 360 --tokens 24 32 48 64 96 128 192 256 300 512 700 1152 1280
        study 325 table8 table --tp 8 --seconds 290
        ;;
    table1)
        warm 70 --intermediate 2880 --tokens 96 128 192 256 300 512 700 1152 1280 1536 4096 6144
        study 325 table1 table --tp 1 --seconds 285
        ;;
    table42)
        warm 40 --intermediate 720 --tokens 1 8 64 300 1280 8192
        study 160 table4 table --tp 4 --seconds 135
        warm 40 --intermediate 1440 --tokens 1 8 64 300 1280 8192
        study 160 table2 table --tp 2 --seconds 135
        ;;
    others)
        warm 30 --intermediate 2880 --experts 32 --tokens 1 8 64 128 300 1024 4096
        warm 30 --intermediate 360 --experts 32 --tokens 1 8 64 128 300 1024 4096
        warm 30 --hidden 4096 --intermediate 1536 --topk 8 --tokens 1 8 64 128 300 1024
        study 305 others others --last 20 --seconds 270
        ;;
    routing)
        warm 40 --intermediate 2880 --tokens 8 64 300 1024 4096
        warm 40 --intermediate 360 --tokens 8 64 300 1024 4096
        study 315 routing others --first 20 --seconds 280
        ;;
    cold) study 390 cold cold --tp 1 ;;
    tritons) # .dev-cubins was made by `python -m studies.cubins pack` and is named in `carry`
        timeout 395 "$python" -m studies.cubins time .dev-cubins --out "$out/tritons.jsonl" --seconds 360 >"$out/tritons.log" 2>&1 || echo "tritons ended with $?"
        say "$out/tritons.log" 9000
        ;;
    *)
        echo "unknown part '$part': repeats, space8, space1, clocks, table8, table1, table42, others, routing, cold or tritons" >&2
        exit 2
        ;;
esac
