"""The models: shapes as their config.json gives them. Another model is one more `Model`; what a rank holds of it follows from its sizes.

The tables of moe_a16w4/configs/ are GPT-OSS-120B's; other models take rows of it by a rule (`pick`). CONTRIBUTING has the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

MXFP4_BYTES = 17 / 32
"""Per value: 16 bytes of FP4 and one of scale for 32 of them."""


@dataclass(frozen=True)
class Model:
    """A transformer whose MLPs are mixtures of experts with three matrices each, MXFP4; all else is bf16.

    hidden, intermediate: H and I of one expert before tensor parallelism. topk: experts per token. heads, kv_heads: of attention, head_dim wide.
    """

    name: str
    layers: int
    hidden: int
    intermediate: int
    experts: int
    topk: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    def expert_bytes(self) -> float:
        """One expert: gate, up and down matrices and their bf16 biases."""
        return 3 * self.hidden * self.intermediate * MXFP4_BYTES + 2 * (2 * self.intermediate + self.hidden)

    def dense_bytes(self, tp: int) -> float:
        """What every step reads per GPU, in bytes: attention and head, split over ``tp`` GPUs, and the router, which is not."""
        attention = self.hidden * (2 * self.heads + 2 * self.kv_heads) * self.head_dim
        return 2 * (self.layers * (attention / tp + self.hidden * self.experts) + self.vocabulary * self.hidden / tp)


GPT_OSS_120B = Model(
    name="GPT-OSS-120B", layers=36, hidden=2880, intermediate=2880, experts=128, topk=4, heads=64, kv_heads=8, head_dim=64, vocabulary=201_088
)
GPT_OSS_20B = Model(
    name="GPT-OSS-20B", layers=24, hidden=2880, intermediate=2880, experts=32, topk=4, heads=64, kv_heads=8, head_dim=64, vocabulary=201_088
)
MODELS = {model.name: model for model in (GPT_OSS_120B, GPT_OSS_20B)}
