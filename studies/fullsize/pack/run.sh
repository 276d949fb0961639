#!/bin/bash
# Servers one after another on GPU 0, from nothing but this pack: bash PACK/run.sh ARMS START SECONDS [LOAD]     from the root of Tunefork's checkout
#
# ARMS: of studies/fullsize/arms.py, in the order of their starts: T,F.  START: number of the first, where an earlier call on this machine left off.
# SECONDS: of this call; no start and no load begins later, and 15 s after it what still runs is stopped.  LOAD: as `studies.fullsize.run` takes it.
# A second call goes on in the rows and the caches of the first. Rows, the table and the logs are copied to $OUT all the time.
set -u
[ $# -ge 3 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
arms=$1 start=$2 budget=$3 load=${4:-1:4,4:40,16:64,64:128,4:8:8192}
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh" || exit 2
python=${PYTHON:-python3}
out=${OUT:-$place/out}
work=$place/work
mkdir -p "$out" "$work/logs"
copied() { # whole files alone, by a rename: a call may be killed at any time
    for name in rows.jsonl run.log table.md; do [ ! -e "$work/$name" ] || { cp "$work/$name" "$out/$name.part" && mv "$out/$name.part" "$out/$name"; }; done
    tar -czf "$out/logs.tgz.part" -C "$work" logs && mv "$out/logs.tgz.part" "$out/logs.tgz"
}
"$python" -m studies.fullsize.ready || exit 2
[ -e "$place/l36/config.json" ] || "$python" -m studies.fullsize.model "$place/l36" --layers 36 || exit 2
# The first start of an arm on a machine compiles its kernels and its graph: left out of the second table.
number=$start
for arm in ${arms//,/ }; do
    grep -qx "$arm" "$work/warm" 2>/dev/null || { echo "$arm" >>"$work/warm" && echo "$number" >>"$work/cold"; }
    number=$((number + 1))
done
(while sleep "${COPY_EVERY:-3}" && kill -0 $$ 2>/dev/null; do copied; done) & # and ends where this shell was killed
copier=$!
trap 'kill $copier 2>/dev/null; copied' EXIT
echo "ready to start after $SECONDS s"
timeout -s INT -k 10 $((budget - SECONDS + 15)) "$python" -m studies.fullsize.run --model "$place/l36" --sequence "$arms" --gpu 0 --place "$start" \
    --out "$work/rows.jsonl" --load "$load" --repeats 2 --utilization 0.6 --kv-gib 8 --ready-timeout "${READY_TIMEOUT:-400}" \
    --seconds $((budget - SECONDS)) 2>&1 | tee -a "$work/run.log"
{
    "$python" -m studies.fullsize.table "$work/rows.jsonl" --ttft --base T
    leave=""
    while read -r number; do
        ! grep -q "\"kind\": \"start\".*\"place\": $number," "$work/rows.jsonl" || leave="$leave --leave-out 0:0:$number"
    done <"$work/cold"
    if [ -n "$leave" ]; then
        printf '\n## Without the first start of each arm on this machine\n\n'
        "$python" -m studies.fullsize.table "$work/rows.jsonl" --ttft --base T $leave
    fi
} 2>&1 | tee "$work/table.md"
echo "done after $SECONDS s"
