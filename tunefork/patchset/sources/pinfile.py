"""pins.toml with another pin in it: only the values of one upstream change, comments and order stay."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.patchset.sources import pins
from tunefork.patchset.sources.pins import Pin


def with_pin(text: str, pin: Pin) -> str:
    """The text with a pin in it: in place of the upstream's old one, or as a table of its own at the end."""
    if pin.name in (read(text) if text.strip() else {}):
        return repinned(text, pin)
    values = {"url": pin.url, "tag": pin.tag, "version": pin.version, "commit": pin.commit}
    lines = [f"[upstreams.{pin.name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    table = "\n".join([*lines, f"submodules = {json.dumps(pin.submodules)}"]) + "\n"
    return text.rstrip("\n") + "\n" * 2 * bool(text.strip()) + table


def repinned(text: str, pin: Pin) -> str:
    """The text of pins.toml with one upstream's tag, version, commit and source distribution replaced.

    A pin without a source distribution loses that table and the comment above it. BadInput when the file is written in a way that
    this cannot edit.
    """
    table = f"upstreams.{pin.name}"
    text = replaced(text, table, {"tag": pin.tag, "version": pin.version, "commit": pin.commit})
    if pin.sdist is None:
        text = without(text, f"{table}.sdist")
    else:
        values: dict[str, str | list[str]] = {
            "version": pin.sdist.version, "sha256": pin.sdist.sha256, "commit": pin.sdist.commit, "added": list(pin.sdist.added),
        }  # fmt: skip
        text = replaced(text, f"{table}.sdist", values)
    if read(text).get(pin.name) != pin:
        raise BadInput(f"pins.toml: [{table}] is written in a way that this command cannot edit",
                       "write it as one `key = value` per line, as `git log -p pins.toml` shows it")
    return text


def read(text: str) -> dict[str, Pin]:
    """The pins that a text holds."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="tunefork-pins-") as folder:
        layout = Layout(Path(folder), Path(folder))
        layout.pins.write_text(text, encoding="utf-8")
        return pins.load(layout)


def body(text: str, table: str) -> tuple[int, int]:
    """Where a table begins, header included, and where the next one does; (-1, -1) where there is none."""
    header = re.search(rf"^[ \t]*\[{re.escape(table)}\][^\n]*\n", text, re.MULTILINE)
    if header is None:
        return -1, -1
    following = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, header.end())
    return header.start(), following.start() if following else len(text)


def replaced(text: str, table: str, values: dict[str, str | list[str]]) -> str:
    """The text with values of one table replaced; a comment behind a value stays."""
    begin, end = body(text, table)
    inner = text[max(begin, 0) : max(end, 0)]
    for key, value in values.items():
        pattern = rf'^([ \t]*{key}[ \t]*=[ \t]*)("[^"\n]*"|\[[^\]]*\])'
        if found := re.search(pattern, inner, re.MULTILINE):
            inner = inner[: found.start()] + found[1] + json.dumps(value) + inner[found.end() :]
    return text if begin < 0 else text[:begin] + inner + text[end:]


def without(text: str, table: str) -> str:
    """The text without a table and the comment above it; the comment above the next one stays."""
    begin, end = body(text, table)
    if begin < 0:
        return text
    before = text[:begin].splitlines(keepends=True)
    while before and before[-1].startswith("#"):
        before.pop()
    rest = text[begin:end].splitlines(keepends=True)
    kept: list[str] = []
    while rest and (rest[-1].startswith("#") or not rest[-1].strip()):
        kept.insert(0, rest.pop())
    return "".join(before).rstrip("\n") + "\n" + ("\n" if kept and kept[0].strip() else "") + "".join(kept) + text[end:]
