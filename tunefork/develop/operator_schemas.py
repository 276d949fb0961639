"""Whether the operators of the wheel take what this vLLM gives them: their schemas against those that the checkout's source declares.

The wheel may be of another version than the source. An operator that both have and that takes other arguments fails at its first call;
which ones these are is found when `develop` proves an install, kept in the checkout, and asked for before a server starts.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunefork.base.files import write_atomically

SOURCE = "csrc/cpu/torch_bindings.cpp"
RECORD = "build/tunefork-operators.json"  # vLLM ignores build/
TEXT = r'"(?:[^"\\]|\\.)*"'

# Run in the environment under proof, where `declared` is a list of schemas and `current_platform` has loaded its libraries. One name may
# be declared more than once, for other instruction sets: any of them will do. A name that was not compiled in is no change: vLLM asks first.
CHANGED = """
def changed(declared):
    import torch
    def shape(schema):
        arguments = [(one.name, str(one.type), one.default_value) for one in schema.arguments]
        return arguments, [str(one.type) for one in schema.returns]
    wanted = {}
    for text in declared:
        wanted.setdefault(text.partition("(")[0], []).append(shape(torch._C.parse_schema(text)))
    present = {name: getattr(torch.ops._C, name) for name in wanted if hasattr(torch.ops._C, name)}
    return sorted(name for name, operator in present.items() if shape(operator.default._schema) not in wanted[name])
"""

EXPERTS = "fused_experts_cpu"
FP8 = ("static_scaled_fp8_quant", "dynamic_per_token_scaled_fp8_quant")


def declared(checkout: Path) -> list[str]:
    """The schemas that the source of the CPU operators declares; none where there is no such source."""
    path = checkout / SOURCE
    if not path.is_file():
        return []
    calls = re.findall(rf"\bops\.def\(((?:\s*{TEXT})+)", path.read_text(encoding="utf-8"))
    texts = ["".join(ast.literal_eval(part) for part in re.findall(TEXT, call)) for call in calls]
    return [text for text in texts if "(" in text]


def record(checkout: Path, wheel: str, changed: Sequence[str]) -> None:
    """Keep what was found. wheel: name and version."""
    write_atomically(checkout / RECORD, json.dumps({"wheel": wheel, "changed": list(changed)}).encode())


def recorded(checkout: Path) -> tuple[str, tuple[str, ...]]:
    """(wheel, the operators that take other arguments); ("", ()) where nothing was found out yet."""
    try:
        found = json.loads((checkout / RECORD).read_bytes())
        return str(found["wheel"]), tuple(map(str, found["changed"]))
    except (OSError, ValueError, KeyError, TypeError):
        return "", ()


def met(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The operators, of those that change from version to version, that a model with this config.json calls on a CPU."""
    quantisation = config.get("quantization_config")
    if not isinstance(quantisation, Mapping):
        return ()
    experts = any(isinstance(config.get(key), int) for key in ("num_local_experts", "num_experts", "n_routed_experts"))
    text = json.dumps(quantisation).lower()
    fp8 = "fp8" in text or re.search(r'"num_bits": 8, .*"type": "float"|"type": "float".*"num_bits": 8', text)
    return (EXPERTS,) * experts + (FP8 if fp8 else ())


def note(wheel: str, version: str, changed: Sequence[str]) -> str:
    """One line of `develop` on operators of another version; "" where all take what they are given."""
    if not changed:
        return ""
    return (
        f"WARNING: the operators are {wheel}'s, vLLM is {version}: {', '.join(changed)} take{'s' if len(changed) == 1 else ''} other arguments. "
        "A model that calls one is refused; GPT-OSS in bf16 calls none"
    )
