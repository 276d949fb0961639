"""Makes the tiny model's files: tokenizer, trained bf16 checkpoint, texts to score, and what transformers itself scores on them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from openai_harmony import HarmonyEncodingName, load_harmony_encoding
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GptOssConfig, GptOssForCausalLM, PreTrainedTokenizerFast

from tunefork.bench.server.tiny.chats import chats
from tunefork.bench.server.tiny.corpus import stories
from tunefork.bench.server.tiny.few import Few
from tunefork.bench.server.tiny.recipe import Recipe
from tunefork.bench.server.tiny.vocabulary import make_tokenizer

BOS, PAD, EOS, CALL = "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|call|>"
TRAIN_SEED, EVAL_SEED = 2, 3


def make_config(recipe: Recipe, tokenizer: Tokenizer) -> GptOssConfig:
    """GPT-OSS' configuration at the recipe's sizes."""
    return GptOssConfig(
        architectures=["GptOssForCausalLM"],
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.head_dim,
        num_local_experts=recipe.experts,
        num_experts_per_tok=recipe.experts_per_token,
        sliding_window=recipe.sliding_window,
        max_position_embeddings=recipe.max_positions,
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 150000.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
            "factor": recipe.max_positions / recipe.original_positions,
            "original_max_position_embeddings": recipe.original_positions,
        },
        tie_word_embeddings=False,
        initializer_range=0.05,
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(PAD),
        attn_implementation="eager",
        experts_implementation="grouped_mm",
    )


def train(model: GptOssForCausalLM, few: Few, tokens: torch.Tensor, recipe: Recipe) -> float:
    """AdamW on random windows of ``tokens`` (N,), numbered as ``few`` does; warm-up, then cosine. Returns the last loss in nats per token."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95))
    draws = torch.Generator().manual_seed(recipe.seed)
    loss = math.nan
    for step in range(recipe.train_steps):
        rate = 0.05 + 0.95 * (1 + math.cos(math.pi * step / recipe.train_steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / 10) * rate
        starts = torch.randint(0, len(tokens) - recipe.train_length, (recipe.train_sequences,), generator=draws)
        window = torch.stack([tokens[start : start + recipe.train_length] for start in starts.tolist()])
        scores = few.scores(model(input_ids=window, use_cache=False).logits)
        error = torch.nn.functional.cross_entropy(scores[:, :-1].flatten(0, 1), window[:, 1:].flatten())
        error.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss = error.item()
    return loss


def bits_per_byte(model: GptOssForCausalLM, tokenizer: Tokenizer, texts: list[str]) -> float:
    """-log2 of the texts' probability over their UTF-8 bytes; each text alone, its first token not scored.

    That is what `/v1/completions` with echo and logprobs reports for the same text.
    """
    bits, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            scores = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        chosen = scores.gather(1, ids[0, 1:, None])[:, 0]
        bits -= (chosen - scores.logsumexp(1)).sum().item() / math.log(2)
        count += len(text.encode())
    return bits / count


def make_files(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Write the model into an empty folder; returns facts for its manifest."""
    # The same bytes at every build on a machine: sums over several threads may differ in their last bit, and training spreads it.
    # One thread also keeps its pace on a busy machine, where two that wait for each other took ten times as long.
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    told = stories(TRAIN_SEED, recipe.train_characters)
    held_out = stories(EVAL_SEED, recipe.eval_characters)
    harmony = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
    tokenizer = make_tokenizer(harmony)
    bos = tokenizer.token_to_id(BOS)
    assert bos is not None
    documents: list[list[int]] = [[bos, *item.ids] for item in tokenizer.encode_batch(told)]
    for place, document in zip(range(0, len(told), recipe.train_chats), chats(harmony, told[:: recipe.train_chats]), strict=True):
        documents[place] = document
    stream = torch.tensor([token for document in documents for token in document])
    few = Few(stream, recipe.vocab_size)
    config = make_config(recipe, tokenizer)
    small = make_config(recipe, tokenizer)
    small.vocab_size, small.pad_token_id = few.size, None
    model = GptOssForCausalLM(small)
    few.begin(model)
    loss = train(model.train(), few, few.numbered(stream), recipe)
    few.widen(model)
    model = model.to(torch.bfloat16).eval()
    save(folder, model, config, tokenizer)
    (folder / "eval").mkdir()
    (folder / "eval" / "stories.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in held_out))
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "train_loss_nats_per_token": loss,
        "transformers_bits_per_byte": bits_per_byte(model, tokenizer, held_out),
    }


def save(folder: Path, model: GptOssForCausalLM, config: GptOssConfig, tokenizer: Tokenizer) -> None:
    """The files of a Hugging Face checkpoint, bf16, experts not quantized (vLLM's CPU MXFP4 needs AMX)."""
    weights = {name: weight.detach().contiguous().clone() for name, weight in sorted(model.state_dict().items())}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD,
                            model_max_length=config.max_position_embeddings).save_pretrained(folder)
    ends = [config.eos_token_id, tokenizer.token_to_id(CALL)]
    (folder / "generation_config.json").write_text(json.dumps(
        {"bos_token_id": config.bos_token_id, "eos_token_id": ends, "pad_token_id": config.pad_token_id,
         "do_sample": False}, indent=2) + "\n")
