"""The corpus: the same on every machine, ours, and with something for attention to remember."""

from __future__ import annotations

import hashlib

from tunefork.bench.server.tiny.corpus import PEOPLE, stories


def test_the_same_text_everywhere() -> None:
    text = "\n".join(stories(2, 100_000))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "88fadd54a7d853ce"


def test_held_out_stories_are_not_in_the_training_text() -> None:
    assert not set(stories(3, 24_000)) & set(stories(2, 1_200_000))


def test_each_story_comes_back_to_its_own_few_people() -> None:
    for story in stories(3, 24_000):
        cast = {name for name in PEOPLE if name in story.replace(".", " ").replace(",", " ").split()}
        assert 1 <= len(cast) <= 3
        assert sum(story.count(name) for name in cast) > 10
