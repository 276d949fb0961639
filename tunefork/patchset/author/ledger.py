"""The count of a patch file's bytes: each belongs to a named part, and the parts come to the whole. Where they do not, the file is refused.

The parts are counted where a line is understood, the whole where the file is read: a line that is passed over is missing from the first.
"""

from __future__ import annotations

from collections import Counter

from tunefork.base.errors import BadInput

Parts = Counter[str]
"""Bytes by what they are: a mail's header, its message, a diff's header, hunks, binary data, and each kind of text that changes nothing."""
BLANKS = b" \t\r\n\f\v"


class Unaccounted(BadInput):
    """Bytes of a patch are neither taken nor named: a fault of the reader, which must not end in a tree without them."""


def balance(file: str, whole: int, parts: Parts, line: int = 0) -> None:
    """Unaccounted unless the parts come to ``whole`` bytes. line: where the part that was read begins, from 1; 0 for the file's beginning."""
    if (counted := parts.total()) != whole:
        where = f"{file}:{line}" if line else file
        raise Unaccounted(f"{where}: {whole} bytes, and {counted} of them are part of a change or named as text",
                          "report this, with the file: nothing of it was taken. `git format-patch --binary` writes what can be read")  # fmt: skip


def squeezed(text: bytes) -> bytes:
    """Text without its blanks and line ends, which mail programs change."""
    return text.translate(None, BLANKS)
