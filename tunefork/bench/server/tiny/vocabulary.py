"""GPT-OSS' own vocabulary, o200k_harmony, as a Hugging Face tokenizer: read from the Harmony library, without a network.

vLLM renders a chat of a `gpt_oss` model with that library and no chat template: its token ids reach 201,087, whatever tokenizer the
checkpoint has. So the tiny model speaks the same ids.
"""

from __future__ import annotations

from itertools import pairwise

from openai_harmony import HarmonyEncoding
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tunefork.kernels.model import GPT_OSS_120B

SIZE = GPT_OSS_120B.vocabulary  # GPT-OSS' vocab_size; the ids that it names end at 200,018, the rest is reserved


def make_tokenizer(harmony: HarmonyEncoding) -> Tokenizer:
    """A byte-level BPE with Harmony's ids: any text and any byte can be encoded.

    It splits text before merging as GPT-2 does; o200k has a rule of its own, so rare text (three digits, case inside a word) may be
    cut elsewhere than Harmony cuts it. Every token stands for the same bytes in both.
    """
    names = {name: harmony.encode(name, allowed_special="all")[0] for name in harmony.special_tokens_set}
    control = {token: name for name, token in names.items() if token < SIZE}
    pieces = {harmony_bytes(harmony, token): token for token in range(SIZE) if token not in control}
    letters = byte_letters()
    written = {piece: "".join(letters[byte] for byte in piece) for piece in pieces}
    merges = [(written[left], written[right]) for left, right in (last_merge(piece, pieces) for piece in pieces if len(piece) > 1)]
    tokenizer = Tokenizer(models.BPE({written[piece]: token for piece, token in pieces.items()}, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # In the order of their ids: a tokenizer numbers what it does not know by counting on.
    tokenizer.add_special_tokens([AddedToken(control[token], special=True, normalized=False) for token in sorted(control)])
    return tokenizer


def harmony_bytes(harmony: HarmonyEncoding, token: int) -> bytes:
    """The bytes of one ordinary token; many are no whole UTF-8 character."""
    return bytes(harmony._inner.decode_bytes([token]))


def byte_letters() -> dict[int, str]:
    """The character that a byte-level tokenizer writes for each byte: itself where it can be seen, else one from U+0100 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(0x100 + place) for place, byte in enumerate(hidden)}


def last_merge(piece: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that byte-pair encoding joins into ``piece`` (2 bytes or more): merge by rank until two parts are left."""
    parts = [piece[at : at + 1] for at in range(len(piece))]
    while len(parts) > 2:
        pairs = [(ranks.get(left + right, SIZE), at) for at, (left, right) in enumerate(pairwise(parts))]
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]
