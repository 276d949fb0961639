"""Server-sent events from bytes, as the WHATWG's HTML standard (9.2.6) splits them.

A line ends at LF, CR or CRLF and nowhere else: text splitters of HTTP libraries also end one at U+2028, which JSON may hold as it is. A byte order mark
before the first line is none of it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator


class Events:
    """One stream. ``feed`` its bytes as they come, in any pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._first = True
        self._kind = "message"
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[tuple[str, bytes]]:
        """(event, data) of every event that these bytes end; data is UTF-8."""
        whole = self._rest + piece
        # A CR at the end may be half of a CRLF; what follows the last line's end is the start of another.
        held = whole[-1:] == b"\r"
        lines = (whole[:-1] if held else whole).splitlines(keepends=True)
        self._rest = b"\r" if held else b""
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            self._rest = lines.pop() + self._rest
        if lines and self._first:
            lines[0], self._first = lines[0].removeprefix(codecs.BOM_UTF8), False
        for line in lines:
            ended = self._line(line.rstrip(b"\r\n"))
            if ended is not None:
                yield ended

    def _line(self, line: bytes) -> tuple[str, bytes] | None:
        if not line:
            kind, data = self._kind, self._data
            self._kind, self._data = "message", []
            return (kind, b"\n".join(data)) if data else None
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._kind = value.decode(errors="replace")
        return None
