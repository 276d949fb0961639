"""Server-sent events, cut anywhere, with every line end of the standard and none that it has not."""

from __future__ import annotations

import json
import random

import pytest

from tunefork.bench.sse import Events

TEXT = 'a\u2028b\u2029c\x85d\x0be\x0cf\x1cg'


def split(raw: bytes, cuts: list[int]) -> list[tuple[str, bytes]]:
    events, found, at = Events(), [], 0
    for cut in [*cuts, len(raw)]:
        found += list(events.feed(raw[at:cut]))
        at = cut
    return found


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_events_come_whole_wherever_the_stream_is_cut(end: bytes) -> None:
    data = json.dumps({"text": TEXT}, ensure_ascii=False).encode()
    raw = end.join([b"event: complete", b"data: " + data, b"", b": a comment", b"data:one", b"data: two", b"id: 7", b"", b"event: empty", b"", b"data", b"", b""])
    wanted = [("complete", data), ("message", b"one\ntwo"), ("message", b"")]
    # A CR at the very end may be half of a CRLF: that event comes with the next bytes.
    whole = raw + b": more\n"
    draw = random.Random(7)
    for cuts in [[], list(range(1, len(whole))), *(sorted(draw.sample(range(1, len(whole)), 5)) for _ in range(200))]:
        assert split(whole, cuts) == wanted, cuts


def test_a_byte_order_mark_is_no_part_of_the_first_event() -> None:
    """A client of PyPI loses that event (findings/sse_clients_beside_the_standard.sh)."""
    raw = b"\xef\xbb\xbfdata: one\n\ndata: two\n\n"
    for cut in range(len(raw)):
        assert split(raw, [cut]) == [("message", b"one"), ("message", b"two")]
    assert split(b"data: one\n\n\xef\xbb\xbfdata: two\n\n", []) == [("message", b"one")], "in the middle it makes another field's name"


def test_an_event_without_its_empty_line_has_not_come() -> None:
    assert split(b"data: half\n", []) == []
