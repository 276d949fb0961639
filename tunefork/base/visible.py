"""Text that somebody else wrote, for a terminal: what would steer the terminal is shown instead of obeyed."""

from __future__ import annotations

import re
import unicodedata

TAB, NEWLINE = "\t", "\n"
# Cc: escape, bell, backspace ...  Cf: marks that turn the direction of writing or show nothing.  Zl, Zp: other line ends.  Cs: bytes that are no text.
UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Cs")
SUSPECT = re.compile(r"[^\x20-\x7e\t\n]")


def visible(text: str) -> str:
    """The text with every control as its escape (``\\x1b``), but for tab and newline. Printable text comes back as it is."""
    return SUSPECT.sub(lambda match: escaped(match[0]), text)


def escaped(character: str) -> str:
    return ascii(character)[1:-1] if unicodedata.category(character) in UNSEEN else character
