# Source this from the root of Tunefork's checkout: it unpacks the pack once and has Python find vLLM, Tunefork and Tunefork's plugin. Sets $place.
pack=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
place=${TUNEFORK_SERVED:-/tmp/tunefork-served}
mkdir -p "$place/path/tunefork-0.dist-info" "$place/cache"
for name in vllm site; do
    said=$(cksum <"$pack/$name.txz") || return 2
    [ "$said" = "$(cat "$place/$name.unpacked" 2>/dev/null)" ] && continue
    rm -rf "${place:?}/$name" && mkdir "$place/$name"
    tar -xJf "$pack/$name.txz" -C "$place/$name" 2>/dev/null || "${PYTHON:-python3}" -m tarfile -e "$pack/$name.txz" "$place/$name" || return 2
    echo "$said" >"$place/$name.unpacked"
done
# Not the root itself: its link `kernels` would stand before the library of that name that transformers asks for.
for package in studies tunefork vllm_overrides; do ln -sfn "$PWD/$package" "$place/path/$package"; done
printf 'Metadata-Version: 2.1\nName: tunefork\nVersion: 0\n' >"$place/path/tunefork-0.dist-info/METADATA"
printf '[vllm.general_plugins]\ntunefork = vllm_overrides.plugin:register\n' >"$place/path/tunefork-0.dist-info/entry_points.txt"
export PYTHONPATH="$place/path:$place/vllm:$place/site" PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
export VLLM_USE_FLASHINFER_SAMPLER=0 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
export XDG_CACHE_HOME="$place/cache" TRITON_HOME="$place/cache"
