"""The tiny model's tokenizer: GPT-OSS' own ids, which vLLM renders a chat in. Needs what `develop` installs."""

from __future__ import annotations

import random

import pytest

harmony_library = pytest.importorskip("openai_harmony", reason="NOT TESTED: needs vLLM's dependencies (`python3 build.py develop`)")
pytest.importorskip("tokenizers", reason="NOT TESTED: needs vLLM's dependencies (`python3 build.py develop`)")

from tunefork.bench.server.tiny import vocabulary  # noqa: E402 - after the check that it can be imported
from tunefork.bench.server.tiny.chats import DAYS, chat  # noqa: E402
from tunefork.bench.server.tiny.corpus import PEOPLE, stories  # noqa: E402
from tunefork.bench.server.tiny.recipe import Recipe  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def harmony():
    return harmony_library.load_harmony_encoding("HarmonyGptOss")


@pytest.fixture(scope="module")
def tokenizer(harmony):
    return vocabulary.make_tokenizer(harmony)


def test_every_id_that_harmony_can_render_is_in_the_model(tokenizer):
    ids = sorted(tokenizer.get_vocab().values())
    assert ids == list(range(vocabulary.SIZE)), "no hole: a load of random ids must decode"
    assert Recipe().vocab_size == vocabulary.SIZE


def test_control_tokens_have_harmonys_ids(tokenizer, harmony):
    for name in ("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|call|>"):
        assert tokenizer.token_to_id(name) == harmony.encode(name, allowed_special="all")[0]


def test_the_stories_are_cut_as_harmony_cuts_them(tokenizer, harmony):
    for story in stories(3, 24_000):
        assert tokenizer.encode(story).ids == harmony.encode(story)
    assert all(len(harmony.encode(f" {name}")) == 1 for name in PEOPLE)


def test_every_token_stands_for_the_same_bytes(tokenizer, harmony):
    draw = random.Random(0)
    for text in ("Grüße, 你好 DON'T 1234\n\n\t x", "\U0001f600\x00\x7f", "a" * 50, "".join(chr(draw.randrange(32, 0xD000)) for _ in range(400))):
        ids = tokenizer.encode(text).ids
        assert harmony.decode(ids) == text
        assert tokenizer.decode(harmony.encode(text), skip_special_tokens=False) == text


def test_a_chat_ends_in_a_final_answer(harmony):
    story = stories(2, 1000)[0]
    said = harmony.decode(chat(harmony, story, DAYS[0]))
    assert f"Current date: {DAYS[0]}" in said
    assert said.endswith(f"<|start|>assistant<|channel|>final<|message|>{story}<|return|>")
