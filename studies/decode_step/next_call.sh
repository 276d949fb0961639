#!/bin/sh
# usage: sh studies/decode_step/next_call.sh OUT [python]     from the repository's root, on one H200 with torch and Triton; ends within 400 s
#
# What was made without a GPU and waits for one, in order of worth. Each part has a limit of its own and may fail; little is printed, rows go to OUT.
#   1  the repeat tests of the tiled MoE rows that a call before cut off (pytest: on the path, or in a folder that PYTEST_FOLDER names)
#   2  the checks of the way to attention, with the mask that goes by slots
#   3  a layer with and without asking L2 ahead: the option that is off until this has timed it
#   4  the long repeat tests, with the time that is left
set -u
out=$1
python=${2:-python3}
mkdir -p "$out"
begin=$(date +%s)
export PYTHONPATH="$PWD${PYTEST_FOLDER:+:$PYTEST_FOLDER}${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export TRITON_CACHE_DIR="${TRITON_CACHE_DIR:-/tmp/decode-step-cache}"

part() { # part NAME SECONDS COMMAND...: its last lines, its exit code, never more seconds than are left
    name=$1
    left=$((385 - $(date +%s) + begin))
    limit=$2
    shift 2
    [ "$limit" -le "$left" ] || limit=$left
    if [ "$limit" -lt 5 ]; then
        echo "== $name: no time left"
        return 0
    fi
    timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1
    echo "== $name: exit code $? (124: its $limit s were over), at $(($(date +%s) - begin)) s"
}

tests() { # tests NAME SECONDS EXPRESSION
    part "$1" "$2" "$python" -m pytest --noconftest -c /dev/null --rootdir . -p no:cacheprovider -v --tb=line -k "$3" tests/kernels/test_moe_a16w4_gpu.py
    grep -E "PASSED|FAILED|ERROR|passed|failed|No module|Error" "$out/$1.log" | tail -10 | cut -c1-130
}

# Compiles while the first tests run, and times nothing.
timeout -k 5 110 "$python" -m studies.decode_step ahead --rounds 0 --case 1:4 >"$out/warm.log" 2>&1 &
warming=$!
tests repeats 100 "repeats_bit_for_bit and not whole_space"
wait "$warming"
part attend 60 "$python" -m studies.decode_step check --op attend --out "$out/attend-check.jsonl"
sed 's/"kind": "check", "op": "attend", //' "$out/attend-check.jsonl" 2>/dev/null | tail -14 | cut -c1-190
for case in 1:4 8:4 1:1 1:16; do
    part "ahead-$case" 45 "$python" -m studies.decode_step ahead --rounds 20 --case "$case" --out "$out/ahead.jsonl"
    grep '"kind"' "$out/ahead-$case.log" | tail -7 | cut -c1-165
    grep -E "Error" "$out/ahead-$case.log" | tail -1 | cut -c1-160
done
tests whole 400 "whole_space"
