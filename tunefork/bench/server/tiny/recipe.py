"""What the tiny model is: its shape, its training, and the digest that names the result in the cache."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from tunefork.kernels.model import GPT_OSS_120B

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "oss-harmony")


@dataclass(frozen=True)
class Recipe:
    """Sizes of the model (2 million parameters, and 51 million for the vocabulary) and of its training.

    The architecture's features are all there, scaled down: alternate sliding-window layers, attention sinks, grouped-query heads
    of 64, YaRN, 8 experts of which a token takes 2. Trained, because an untrained model's score hardly tells right numerics from
    wrong: a uniform guess costs 12.2 nats a token, this model about 1.9.

    The vocabulary is GPT-OSS' own, since vLLM renders a chat in it; of its tokens the stories use a thousand.
    train_chats: one document in so many is a chat.
    """

    vocab_size: int = GPT_OSS_120B.vocabulary
    hidden_size: int = 128
    intermediate_size: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 8
    experts_per_token: int = 2
    sliding_window: int = 128
    max_positions: int = 4096
    original_positions: int = 128
    train_steps: int = 100
    train_sequences: int = 4
    train_length: int = 256
    learning_rate: float = 3e-3
    train_characters: int = 1_200_000
    train_chats: int = 4
    eval_characters: int = 12_000
    threads: int = 1
    seed: int = 0

    def digest(self) -> str:
        """Sixteen hex digits over the recipe, the code of this folder, the libraries and the kind of machine."""
        parts = {
            "recipe": asdict(self),
            "code": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                     for path in sorted(Path(__file__).parent.glob("*.py"))},
            "libraries": {name: version(name) for name in LIBRARIES},
            "machine": platform.machine(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
