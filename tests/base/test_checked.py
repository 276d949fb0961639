"""JSON that is checked as it is read: what is refused, and the one line that says so."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tunefork.base.checked import CHECKED, from_json
from tunefork.base.errors import BadInput, ServeError


@dataclass(frozen=True)
class Part:
    __pydantic_config__ = CHECKED

    name: str


@dataclass(frozen=True)
class Whole:
    __pydantic_config__ = CHECKED

    parts: tuple[Part, ...]
    share: float


def test_what_fits_comes_back_as_its_type() -> None:
    assert from_json(Whole, '{"parts": [{"name": "a"}], "share": 1}', "f.json", "") == Whole((Part("a"),), 1.0)


@pytest.mark.parametrize(("text", "said"), [
    ('{"parts": [', "f.json: the whole: Invalid JSON"),
    ("null", "f.json: the whole: Input should be"),
    ('{"parts": []}', "f.json: share: Field required"),
    ('{"parts": [], "share": "1"}', "f.json: share: Input should be a valid number"),
    ('{"parts": [], "share": NaN}', "f.json: share: Input should be a finite number"),
    ('{"parts": [], "share": 1, "more": 2}', "f.json: more: Unexpected keyword argument"),
    ('{"parts": [{"name": "a"}, {"name": 3}], "share": 1}', "f.json: parts.1.name: Input should be a valid string"),
])  # fmt: skip
def test_what_does_not_fit_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        from_json(Whole, text, "f.json", "mend it")
    assert caught.value.message.startswith(said), caught.value.message
    assert (len(caught.value.message.splitlines()), caught.value.remedy) == (1, "mend it")


def test_the_caller_chooses_the_kind_of_error() -> None:
    with pytest.raises(ServeError):
        from_json(Part, "{}", "f.json", "", ServeError)
