#!/bin/sh
# The decode step's served table, on NVIDIA or on an MI355X node, from nothing: sh studies/fullsize/served.sh OUT [python]
#
# From the repository's root, in vLLM's own environment (on AMD vLLM's ROCm container), once `pip install -e '.[ab]'` has put Tunefork there. Writes to OUT:
# rows of every start and load, launches of a layer, logits, and report.md with the tables; OUT/layer.svg. Every GPU has a lane of starts, all lanes the same
# unless LANES says otherwise: about two hours. Nothing else may run on those GPUs. Variables:
#   GPUS="0 1"        devices (all that torch sees)
#   LANES="A,F,F,A,..;..."   starts of each lane, in order (studies/fullsize/arms.py has the arms)
#   ATTENTION=        backend of all arms: TRITON_ATTN on NVIDIA, ROCM_AITER_UNIFIED_ATTN on AMD (those that decode_step writes pages of); auto: vLLM's choice
#   LOAD=, SECONDS_PER_LANE=, STUDY=0 (the table alone, without launches and logits), READY_TIMEOUT=, MODEL_FOLDER=
set -u
out=$1
python=${2:-python3}
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
# Not the root itself: its link `kernels` would stand before the library of that name that transformers asks for.
mkdir -p "$out/path"
for package in studies tunefork vllm_overrides; do ln -sfn "$PWD/$package" "$out/path/$package"; done
export PYTHONPATH="$out/path${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 VLLM_USE_FLASHINFER_SAMPLER=0 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
kind=$("$python" -m studies.fullsize.ready) || exit 2
GPUS=${GPUS:-$("$python" -c 'import torch; print(*range(torch.cuda.device_count()))')}
if [ "$kind" = amd ]; then
    arms="A,B,F,F,B,A,A,F,B,B,F,A" # T is of NVIDIA's default backend; vLLM's own on gfx950 is AITER's
    attention=${ATTENTION:-ROCM_AITER_UNIFIED_ATTN}
    export VLLM_ROCM_USE_AITER=1
    patience=3600 # AITER compiles its kernels at the first start of all
else
    patience=900
    arms="A,T,F,B,F,B,T,A,A,F,T,B,B,T,F,A"
    attention=${ATTENTION:-TRITON_ATTN}
fi
LANES=${LANES:-$arms}
LOAD=${LOAD:-1:4,4:40,16:64,64:128,4:8:8192}
model=${MODEL_FOLDER:-${TMPDIR:-/tmp}/tunefork-served}
for layers in 4 36; do
    [ -e "$model/l$layers/config.json" ] || "$python" -m studies.fullsize.model "$model/l$layers" --layers $layers || exit 2
done
export TUNEFORK_STUDY_ATTENTION="$attention"
if [ "${STUDY:-1}" = 1 ]; then
    for arm in shipped ours step; do
        for tokens in 1 4 16; do
            timeout $patience "$python" -m studies.fullsize.launches --model "$model/l4" --moe $arm --tokens $tokens --out "$out/launches.jsonl" \
                >"$out/launches-$arm-$tokens.log" 2>&1 || echo "launches of $arm at $tokens tokens failed: $out/launches-$arm-$tokens.log"
        done
    done
    for moe in shipped ours step reference; do
        timeout $patience "$python" -m studies.fullsize.logits --model "$model/l4" --moe $moe --out "$out/$moe.pt" >"$out/logits-$moe.log" 2>&1 ||
            echo "logits of $moe failed: $out/logits-$moe.log"
    done
fi
lane=0
pids=""
for gpu in $GPUS; do
    lane=$((lane + 1))
    starts=$(echo "$LANES" | cut -d';' -f$lane)
    [ -n "$starts" ] || starts=$(echo "$LANES" | cut -d';' -f1)
    "$python" -m studies.fullsize.run --model "$model/l36" --sequence "$starts" --gpu "$gpu" --out "$out/served-$gpu.jsonl" --load "$LOAD" --repeats 2 \
        --utilization 0.6 --kv-gib 8 --attention "$attention" --ready-timeout "${READY_TIMEOUT:-$patience}" --seconds "${SECONDS_PER_LANE:-36000}" \
        >"$out/served-$gpu.log" 2>&1 &
    pids="$pids $!"
done
for pid in $pids; do wait "$pid" || echo "a lane failed: $out/served-*.log"; done
cat "$out"/served-*.jsonl >"$out/served.jsonl"
{
    "$python" -m studies.fullsize.table "$out/served.jsonl" --ttft --base A
    case "$LANES" in *T*) "$python" -m studies.fullsize.table "$out/served.jsonl" --ttft --base T ;; esac
    "$python" -m studies.fullsize.table "$out/served.jsonl" --ttft --base B
    if [ "${STUDY:-1}" = 1 ]; then
        "$python" -m studies.fullsize.launches --table "$out/launches.jsonl"
        "$python" -m studies.fullsize.layer "$out/launches.jsonl"
        "$python" -m studies.fullsize.logits --compare "$out/reference.pt" "$out/shipped.pt" "$out/step.pt"
        "$python" -m studies.fullsize.layer "$out/launches.jsonl" --draw "$out/layer.svg" shipped:4 ours:4 step:4
    fi
} >"$out/report.md" 2>&1
cat "$out/report.md"
