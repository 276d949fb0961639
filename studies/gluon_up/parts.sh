#!/bin/sh
# usage: sh studies/gluon_up/parts.sh PART OUT [python]      from the repository's root, on a machine with an H200, torch and Triton
# One call of the device a part, each under 280 s; rows in OUT/*.jsonl as they come, what matters at the end of standard output (under 12,000 characters).
set -u
part=$1
out=$2
python=${3:-python3}
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 TRITON_CACHE_DIR="${TRITON_CACHE_DIR:-/tmp/gluon-up-cache}"
study() { # study SECONDS NAME WHAT WORDS...
    limit=$1; name=$2; what=$3; shift 3
    timeout "$limit" "$python" -m studies.gluon_up "$what" "$@" --out "$out/$name.jsonl" >"$out/$name.log" 2>&1
    ended=$?
    [ "$ended" -eq 0 ] || echo "$name ended with $ended"
    grep -v '"begins"' "$out/$name.log" | cut -c1-330 | tail -c 5500
    [ "$ended" -ne 124 ] || { echo "it was at:"; tail -n 1 "$out/$name.log"; }
}
warm() { # warm SECONDS WORDS...
    limit=$1; shift
    timeout "$limit" "$python" -m studies.gluon_up warm "$@" 2>&1 | tail -n 3
}
case $part in
    checks) # before any time is taken; one process a tile, since a kernel that never ends takes its process with it
        warm 70 --tiles 128x160 128x288 --tp 8 1 2 4 --tokens 300 1000 4096
        study 95 checks-288 checks --tiles 128x288 --tp 8 1 2 4 --tokens 300 1000 4096 --other
        study 95 checks-160 checks --tiles 128x160 --tp 8 1 2 4 --tokens 300 1000 4096 --other
        ;;
    tests)
        timeout 270 "$python" -m pytest -q -p no:cacheprovider tests/kernels/test_ring_gpu.py >"$out/tests.log" 2>&1 || echo "tests ended with $?"
        tail -c 3000 "$out/tests.log"
        ;;
    layer)
        warm 60 --tiles 128x160 128x288 "128x160, 8 warps" --tp 8 1 --tokens 1024 1536 2048 3072 4096 5120 6144 8192 12288 16384
        study 215 layer layer --tiles 128x160 128x288 "128x160, 8 warps" --tp 8 1 --tokens 16384 8192 4096 2048 1024 12288 6144 3072 5120 1536 --seconds 200
        ;;
    layer42)
        warm 60 --tiles 128x160 128x288 "128x160, 8 warps" --tp 4 2 --tokens 1024 2048 3072 4096 6144 8192 16384
        study 215 layer42 layer --tiles 128x160 128x288 "128x160, 8 warps" --tp 4 2 --tokens 16384 8192 4096 2048 1024 6144 3072 --seconds 200
        ;;
    steps) # which launch a layer's time is in
        warm 60 --tiles 128x160 128x288 --tp 8 1 --tokens 4096 8192 16384
        study 215 steps steps --tiles 128x160 128x288 --tp 8 1 --tokens 16384 4096 8192 --seconds 200 --rounds 8
        ;;
    *)
        echo "unknown part '$part': checks, tests, layer, layer42 or steps" >&2
        exit 2
        ;;
esac
