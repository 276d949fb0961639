"""tunefork/patchset/sources/pinfile.py: another pin in pins.toml, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.patchset.sources import pinfile

TEXT = (Path(__file__).resolve().parents[3] / "pins.toml").read_text()
AITER_TAG = f'tag = "{pinfile.read(TEXT)["aiter"].tag}"'


def changed(before: str, after: str) -> set[str]:
    return set(before.splitlines()) ^ set(after.splitlines())


def test_only_the_values_change() -> None:
    """On the project's own file, comments included."""
    vllm = pinfile.read(TEXT)["vllm"]
    assert vllm.sdist is not None and pinfile.repinned(TEXT, vllm) == TEXT
    moved = replace(vllm, tag="v9.9.0", version="9.9.0", commit="a" * 40,
                    sdist=replace(vllm.sdist, version="9.9.0", sha256="b" * 64, commit="c" * 40, added=("PKG-INFO", "odd \"name\"")))  # fmt: skip
    text = pinfile.repinned(TEXT, moved)
    assert pinfile.read(text) == {**pinfile.read(TEXT), "vllm": moved}
    assert len(text.splitlines()) == len(TEXT.splitlines())
    assert all(line.split(" = ")[0] in ("tag", "version", "commit", "sha256", "added") for line in changed(TEXT, text))
    assert pinfile.repinned(text, vllm) == TEXT


def test_a_comment_behind_a_value_and_a_list_over_lines_stay_sound() -> None:
    text = TEXT.replace(AITER_TAG, f"{AITER_TAG}  # why").replace('["PKG-INFO", ', '[\n  "PKG-INFO",\n  ')
    pins = pinfile.read(text)
    assert '# why' in pinfile.repinned(text, replace(pins["aiter"], tag="v2"))
    assert pins["vllm"].sdist is not None
    moved = replace(pins["vllm"], sdist=replace(pins["vllm"].sdist, added=("one",)))
    assert 'added = ["one"]\n' in pinfile.repinned(text, moved)


def test_without_a_source_distribution_its_table_and_comment_go() -> None:
    vllm = replace(pinfile.read(TEXT)["vllm"], sdist=None, commit="a" * 40)
    text = pinfile.repinned(TEXT, vllm)
    assert pinfile.read(text) == {**pinfile.read(TEXT), "vllm": vllm}
    assert "sdist" not in text and "packaging put into" not in text and "docs/quickstart.md" in text and "[cpu-operators]" in text
    assert "\n# The compiled operators" in text and "\n\n\n" not in text


def test_what_cannot_be_edited_is_refused() -> None:
    inline = TEXT.replace(AITER_TAG, AITER_TAG.replace('"', "'"))
    with pytest.raises(BadInput, match=r"\[upstreams.aiter\] is written in a way"):
        pinfile.repinned(inline, replace(pinfile.read(inline)["aiter"], tag="v2"))
    with pytest.raises(BadInput, match=r"\[upstreams.aiter\]"):  # a source distribution where the file has none
        pinfile.repinned(TEXT, replace(pinfile.read(TEXT)["aiter"], sdist=pinfile.read(TEXT)["vllm"].sdist))
