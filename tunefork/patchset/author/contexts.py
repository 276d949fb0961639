"""Hunks of context diffs (``diff -c``): two halves, each with its own context. Format: POSIX diff, "Diff -c or -C Output Format"."""

from __future__ import annotations

import re

from tunefork.patchset.series.diff import Hunk

OLD, NEW = re.compile(rb"^\*\*\* (\d+)(?:,(\d+))? \*\*\*\*"), re.compile(rb"^--- (\d+)(?:,(\d+))? ----")
Half = list[tuple[bytes, bytes]]
"""(mark, line with its end) in order; the mark is ``" "``, ``"+"``, ``"-"`` or ``"!"``."""


def hunk(lines: list[bytes], at: int) -> tuple[Hunk, int]:
    """The hunk whose line of stars is at ``at``, and the line after it. ValueError says what is wrong with it."""
    size = len(lines[at])
    start, old, at, first = half(lines, at + 1, OLD, b"-!")
    _, new, at, second = half(lines, at, NEW, b"+!")
    if not old:  # a half without changes is left out, and is the context of the other
        old = [line for line in new if line[0] == b" "]
    if not new:
        new = [line for line in old if line[0] == b" "]
    if [line for mark, line in old if mark == b" "] != [line for mark, line in new if mark == b" "]:
        raise ValueError("its two halves have different context")
    return Hunk(start, tuple(line for _, line in old), tuple(line for _, line in new), size=size + first + second), at


def half(lines: list[bytes], at: int, form: re.Pattern[bytes], marks: bytes) -> tuple[int, Half, int, int]:
    """(first line, lines, where the next begins, bytes read) of one half."""
    match = form.match(lines[at]) if at < len(lines) else None
    if match is None:
        raise ValueError("a half has no line that says where it is")
    first, last = int(match[1]), int(match[2] or match[1])
    count = last - first + 1 if first else 0
    size = len(lines[at])
    at += 1
    found: Half = []
    while at < len(lines) and len(found) < count and (lines[at][:1] in (b" ", *(marks[n : n + 1] for n in range(len(marks))))) and not NEW.match(lines[at]):
        if lines[at][1:2] not in (b" ", b"\t", b"\n", b"\r"):
            raise ValueError(f"line {at + 1} has no mark")
        if lines[at][-1:] != b"\n":
            raise ValueError("it ends in the middle of a line")
        found.append((lines[at][:1], lines[at][2:] if lines[at][1:2] == b" " else lines[at][1:]))
        size += len(lines[at])
        at += 1
    if found and len(found) != count:
        raise ValueError(f"a half has {len(found)} lines and says {count}")
    if at < len(lines) and lines[at].startswith(b"\\"):
        if found:
            found[-1] = found[-1][0], found[-1][1].removesuffix(b"\n")
        size += len(lines[at])
        at += 1
    return first, found, at, size
