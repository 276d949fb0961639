"""The folder of a GPT-OSS-120B without weights: its configuration, with any number of layers, and a tokenizer with as many entries.

    python -m studies.fullsize.model work/fullsize/l36 --layers 36
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tunefork.base.upstream_facts.vllm import ARCHITECTURE
from tunefork.kernels.model import GPT_OSS_120B as MODEL

VOCABULARY = MODEL.vocabulary
SPECIAL = {199998: "<|startoftext|>", 199999: "<|endoftext|>", 200002: "<|return|>", 200003: "<|constrain|>", 200005: "<|channel|>",
           200006: "<|start|>", 200007: "<|end|>", 200008: "<|message|>", 200012: "<|call|>"}


def config(layers: int) -> dict[str, Any]:
    """config.json of openai/gpt-oss-120b with ``layers`` layers."""
    return {
        "architectures": [ARCHITECTURE], "model_type": "gpt_oss", "num_hidden_layers": layers, "hidden_size": MODEL.hidden,
        "intermediate_size": MODEL.intermediate, "num_attention_heads": MODEL.heads, "num_key_value_heads": MODEL.kv_heads,
        "head_dim": MODEL.head_dim, "num_local_experts": MODEL.experts,
        "num_experts_per_tok": MODEL.topk, "experts_per_token": MODEL.topk, "vocab_size": VOCABULARY, "attention_bias": True, "attention_dropout": 0.0,
        "hidden_act": "silu", "swiglu_limit": 7.0, "rms_norm_eps": 1e-5, "sliding_window": 128, "tie_word_embeddings": False, "use_cache": True,
        "layer_types": [("sliding_attention", "full_attention")[i % 2] for i in range(layers)], "max_position_embeddings": 131072,
        "initial_context_length": 4096, "initializer_range": 0.02, "rope_theta": 150000, "router_aux_loss_coef": 0.9, "output_router_logits": False,
        "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 4096,
                         "truncate": False},
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
        "eos_token_id": 200002, "pad_token_id": 199999, "dtype": "bfloat16",
    }  # fmt: skip


def tokenizer() -> Any:
    """One word per id, special tokens where GPT-OSS has them: requests are token ids, and answers need only be spelt."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {SPECIAL.get(number, f"t{number}"): number for number in range(VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="t0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(list(SPECIAL.values()))
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=SPECIAL[199998], eos_token=SPECIAL[200002], pad_token=SPECIAL[199999],
                                   model_max_length=131072)


def write(folder: Path, layers: int) -> None:
    """Make the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(layers), indent=1) + "\n")
    tokenizer().save_pretrained(str(folder))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=MODEL.layers)
    words = parser.parse_args()
    write(words.folder, words.layers)


if __name__ == "__main__":
    main()
