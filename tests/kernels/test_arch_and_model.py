"""Chips and models: their numbers agree with what is published of them, and stand in one place each."""

from __future__ import annotations

import tokenize
from pathlib import Path

import pytest

from tunefork.kernels.arch import ARCHES, GFX950, SM90
from tunefork.kernels.model import GPT_OSS_20B, GPT_OSS_120B, MODELS, Model

ROOT = Path(__file__).resolve().parents[2]
OWNED = {2880: "model.py", 201_088: "model.py", 163_840: "arch.py", 1280: "arch.py"}


def numbers(path: Path) -> set[int]:
    """The integers of a module's code: comments and strings are left out."""
    with path.open("rb") as file:
        texts = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NUMBER]
    return {int(text.replace("_", "")) for text in texts if text.replace("_", "").isdigit()}


@pytest.mark.slow
@pytest.mark.parametrize("room", ["tunefork", "vllm_overrides", "studies"])
def test_a_chips_or_models_number_is_written_once(room: str) -> None:
    found = [(path.relative_to(ROOT).as_posix(), number) for path in (ROOT / room).rglob("*.py") for number in OWNED.keys() & numbers(path)]
    assert [entry for entry in found if entry[0] != f"tunefork/kernels/{OWNED[entry[1]]}"] == []


@pytest.mark.parametrize(("model", "parameters"), [(GPT_OSS_120B, 116.83e9), (GPT_OSS_20B, 20.91e9)])
def test_the_sizes_make_the_model_cards_number_of_parameters(model: Model, parameters: float) -> None:
    expert = 3 * model.hidden * model.intermediate + 2 * model.intermediate + model.hidden
    attention = model.hidden * (2 * model.heads + 2 * model.kv_heads) * model.head_dim
    layer = model.experts * (expert + model.hidden) + attention
    assert model.layers * layer + 2 * model.vocabulary * model.hidden == pytest.approx(parameters, rel=1e-3)
    assert MODELS[model.name] is model


def test_a_chips_parts_make_its_published_whole() -> None:
    assert GFX950.target == ("hip", "gfx950", 64) and GFX950.cus % GFX950.xcds == 0 and GFX950.lds == 163_840
    assert GFX950.register_file * 4 == 512 * 1024 and SM90.register_file * 4 == 256 * 1024, "KiB of vector registers per CU and per SM"
    assert (GFX950.waves * GFX950.simds, SM90.waves * SM90.simds) == (32, 64)
    assert set(ARCHES) == {"gfx950", "sm90"}
