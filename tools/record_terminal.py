"""Run commands in a terminal of their own and draw what they printed: ``python tools/record_terminal.py OUT.svg 'COMMAND'...``.

The picture is the real output, colours included; only progress lines that overwrite each other are reduced to the last. Commands run through the shell, in the
current folder. A command ``@serve SECONDS COMMAND`` is stopped by Ctrl-C after it has printed "ready:" and the given seconds have passed.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 118
# rich's own template loads a font from the network; this one uses what the reader has.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-size: {char_height}px; line-height: {line_height}px;
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def run(command: str) -> str:
    """What a command prints on a terminal of WIDTH columns."""
    stop_after = None
    if command.startswith("@serve "):
        _, seconds, command = command.split(" ", 2)
        stop_after = float(seconds)
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    child = subprocess.Popen(["sh", "-c", "exec " + command if stop_after else command], stdin=follower, stdout=follower, stderr=follower,
                             env=environment, start_new_session=True)
    os.close(follower)
    out = b""
    stop_at = None
    while True:
        ready, _, _ = select.select([leader], [], [], 0.2)
        if ready:
            try:
                out += os.read(leader, 65536)
            except OSError:
                break
        elif child.poll() is not None:
            break
        if stop_after and stop_at is None and b"ready:" in out:
            stop_at = time.monotonic() + stop_after
        if stop_at and time.monotonic() > stop_at:
            os.kill(child.pid, signal.SIGINT)
            stop_at = float("inf")
    child.wait()
    return out.decode("utf-8", "replace")


def settled(text: str) -> str:
    """Text with each line as it finally stood: what came before a carriage return or a line erase was overwritten."""
    lines = [re.split(r"\r(?!\n)|\x1b\[2K", line.rstrip("\r"))[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return re.sub(r"\x1b\[[0-9;?]*[A-HJKhl]", "", "\n".join(lines)).rstrip("\n")


def main(argv: list[str]) -> int:
    """Run every command and write the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for command in argv[1:]:
        console.print(Text.assemble(("$ ", "green"), (re.sub(r"^@serve \S+ ", "", command), "bold")))
        console.print(Text.from_ansi(settled(run(command))))
    Path(argv[0]).write_text(console.export_svg(title="a machine without a GPU", code_format=SVG), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
