"""What was meant by a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable


def near(word: str, known: Iterable[str], least: float = 0.6) -> list[str]:
    """The known name that is nearest to a word; none where none is near. least: difflib's ratio, 1 for the same word."""
    import difflib  # here: a command that finds every name does not pay for it

    return difflib.get_close_matches(word, list(known), 1, least)


def question(meant: Iterable[str]) -> str:
    """A remedy's first words: a question for each name; "" for none."""
    return "".join(f"did you mean {one}? " for one in meant)
