"""Small GPT-OSS checkpoints in every layout, written byte by byte: good ones, and the parts of bad ones."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HIDDEN, INTERMEDIATE, EXPERTS, LAYERS = 256, 128, 4, 2
Stored = tuple[str, tuple[int, ...], bytes]
NAMES = {"gate_up": "gate_up_proj", "down": "down_proj", "gate": "gate_proj", "up": "up_proj"}


@dataclass
class Plan:
    """seed; channels: spread of the inputs' sizes (0: no structure, so that an order cannot be told); layout; scale: of all weights."""

    layout: str = "openai"
    seed: int = 0
    channels: float = 1.0
    scale: float = 0.02
    shards: int = 1
    zero_blocks: int = 0
    rounds_up: bool = False
    float_scales: bool = False
    different: float = 3.0  # how much larger gates' rows are than ups'
    biases: bool = True
    concatenated: bool = False
    sizes: tuple[int, int, int, int] = (HIDDEN, INTERMEDIATE, EXPERTS, LAYERS)
    tensors: dict[str, Stored] = field(default_factory=dict)


def quantize(dense: np.ndarray, up: bool) -> tuple[np.ndarray, np.ndarray]:
    """[..., K] -> codes [..., K / 32, 32] and scales [..., K / 32], uint8."""
    blocks = dense.reshape(*dense.shape[:-1], -1, 32)
    top = np.abs(blocks).max(-1)
    power = np.floor(np.log2(np.maximum(top, 1e-30))) - 2 + up
    scaled = np.abs(blocks) / np.exp2(power)[..., None]
    code = np.digitize(scaled, [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]) | (np.signbit(blocks) << 3)
    return np.where(top[..., None] > 0, code, 0).astype(np.uint8), np.where(top > 0, power + 127, 0).astype(np.uint8)


def bf16(values: np.ndarray) -> bytes:
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()


def packed(codes: np.ndarray, layout: str) -> np.ndarray:
    """[..., 32] codes -> [..., 16] bytes."""
    return codes[..., :16] | (codes[..., 16:] << 4) if layout == "gguf" else codes[..., 0::2] | (codes[..., 1::2] << 4)


def put(plan: Plan, layer: int, kind: str, codes: np.ndarray, scales: np.ndarray, bias: np.ndarray | None) -> None:
    """One projection of all experts: codes [E, N, B, 32], scales [E, N, B]."""
    experts, rows, blocks = scales.shape
    values = packed(codes, plan.layout)
    name, scale_type = f"model.layers.{layer}.mlp.experts", "F8_E8M0" if plan.float_scales else "U8"
    if plan.layout == "gguf":
        raw = np.concatenate((scales[..., None], values), -1)
        plan.tensors[f"blk.{layer}.ffn_{kind}_exps.weight"] = ("MXFP4", (experts, rows, 32 * blocks), raw.tobytes())
        if bias is not None:
            plan.tensors[f"blk.{layer}.ffn_{kind}_exps.bias"] = ("F32", (experts, rows), bias.astype(np.float32).tobytes())
        return
    if plan.layout in ("compressed-tensors", "quark"):
        for at in range(experts):
            part = f"{name}.{at}.{NAMES[kind]}"
            plan.tensors[f"{part}.weight{'_packed' if plan.layout == 'compressed-tensors' else ''}"] = ("U8", (rows, 16 * blocks), values[at].tobytes())
            plan.tensors[f"{part}.weight_scale"] = (scale_type, (rows, blocks), scales[at].tobytes())
            if bias is not None:
                plan.tensors[f"{part}.bias"] = ("BF16", (rows,), bf16(bias[at]))
        return
    whole = ("F4", (experts, rows, 32 * blocks)) if plan.layout == "float" else ("U8", (experts, rows, blocks, 16))
    plan.tensors[f"{name}.{NAMES[kind]}{'_blocks' if plan.layout == 'openai' else ''}"] = (*whole, values.tobytes())
    plan.tensors[f"{name}.{NAMES[kind]}_scales"] = ("F8_E8M0" if plan.layout == "float" else scale_type, (experts, rows, blocks), scales.tobytes())
    if bias is not None:
        plan.tensors[f"{name}.{NAMES[kind]}_bias"] = ("BF16", (experts, rows), bf16(bias))


def fill(plan: Plan) -> Plan:
    """The tensors of a good checkpoint."""
    rng = np.random.default_rng(plan.seed)
    hidden, intermediate, experts, layers = plan.sizes
    for layer in range(layers):
        channel = np.exp(plan.channels * rng.standard_normal(hidden))
        gate, up = (rng.standard_normal((experts, intermediate, hidden)) * channel * plan.scale * size for size in (plan.different, 1.0))
        down = rng.standard_normal((experts, hidden, intermediate)) * plan.scale
        gate_bias, up_bias = rng.standard_normal((experts, intermediate)) * plan.different, rng.standard_normal((experts, intermediate))
        parts = {"down": (down, rng.standard_normal((experts, hidden)))}
        if plan.layout in ("gguf", "compressed-tensors", "quark"):
            parts |= {"gate": (gate, gate_bias), "up": (up, up_bias)}
        elif plan.concatenated:
            parts["gate_up"] = (np.concatenate((gate, up), 1), np.concatenate((gate_bias, up_bias), 1))
        else:
            parts["gate_up"] = (np.stack((gate, up), 2).reshape(experts, -1, hidden), np.stack((gate_bias, up_bias), 2).reshape(experts, -1))
        for kind, (dense, bias) in parts.items():
            codes, scales = quantize(dense, plan.rounds_up)
            for _ in range(plan.zero_blocks):
                at = tuple(rng.integers(0, size) for size in scales.shape)
                codes[at], scales[at] = 0, 0
            put(plan, layer, kind, codes, scales, bias if plan.biases else None)
        router = rng.standard_normal((experts, hidden)) * channel * 0.1
        name = f"blk.{layer}.ffn_gate_inp.weight" if plan.layout == "gguf" else f"model.layers.{layer}.mlp.router.weight"
        plan.tensors[name] = ("F32", (experts, hidden), router.astype(np.float32).tobytes()) if plan.layout == "gguf" else (
            "BF16", (experts, hidden), bf16(router))
        plan.tensors[name.replace("weight", "bias")] = ("BF16", (experts,), bf16(np.zeros(experts)))
    return plan


def safetensors(path: Path, tensors: dict[str, Stored]) -> None:
    header, at = {}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in tensors.values()))


def gguf(path: Path, tensors: dict[str, Stored], sizes: tuple[int, int, int, int]) -> None:
    def text(word: str) -> bytes:
        return struct.pack("<Q", len(word)) + word.encode()

    keys = {"embedding_length": sizes[0], "expert_feed_forward_length": sizes[1], "expert_count": sizes[2], "block_count": sizes[3]}
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("gpt-oss"), text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc")]
    pairs += [text(f"gpt-oss.{key}") + struct.pack("<II", 4, value) for key, value in keys.items()]
    kinds, at, infos, data = {"F32": 0, "BF16": 30, "MXFP4": 39}, 0, b"", b""
    for name, (dtype, shape, raw) in tensors.items():
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kinds[dtype], at)
        data += raw + bytes(-len(raw) % 32)
        at = len(data)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + infos
    path.write_bytes(head + bytes(-len(head) % 32) + data)


def write(plan: Plan, folder: Path, method: str | None = "mxfp4") -> Path:
    """The checkpoint's folder; with more than one shard also the index."""
    folder.mkdir(exist_ok=True)
    hidden, intermediate, experts, layers = plan.sizes
    if plan.layout == "gguf":
        gguf(folder / "model.gguf", plan.tensors, plan.sizes)
        return folder
    config = {"hidden_size": hidden, "intermediate_size": intermediate, "num_local_experts": experts, "num_hidden_layers": layers}
    config |= {"quantization_config": {"quant_method": method}} if method else {}
    (folder / "config.json").write_text(json.dumps(config))
    names = list(plan.tensors)
    files = [f"model-{at:05}-of-{plan.shards:05}.safetensors" for at in range(plan.shards)] if plan.shards > 1 else ["model.safetensors"]
    for at, file in enumerate(files):
        safetensors(folder / file, {name: plan.tensors[name] for name in names[at :: plan.shards]})
    if plan.shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: files[i % plan.shards] for i, name in enumerate(names)}}))
    return folder
