"""The last lines of a server's log, however long it is."""

from __future__ import annotations

import re
from pathlib import Path

READ_BYTES = 64 * 1024
LINE_CHARACTERS = 240
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def last_lines(log: Path, count: int) -> list[str]:
    """Up to ``count`` last non-empty lines, shortened, without terminal codes; of a progress bar only its last state."""
    try:
        with log.open("rb") as source:
            source.seek(0, 2)
            source.seek(max(0, source.tell() - READ_BYTES))
            text = source.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [TERMINAL_CODES.sub("", line.rstrip().rsplit("\r", 1)[-1]) for line in text.split("\n")]
    return [line[:LINE_CHARACTERS] for line in lines if line.strip()][-count:]
