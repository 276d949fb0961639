"""A wait as the one who waits sees it: what, how far, how long still, and which log. On a terminal one line that changes; elsewhere nothing more than
what the caller said when it began.

Not rich's bars: one is drawn in milliseconds, and this line is also drawn by a client that measures milliseconds (20 us a second).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tunefork.base import redact
from tunefork.base.visible import visible

FIRST_S, EVERY_S = 2.0, 1.0
"""A shorter wait needs no word; a longer one a fresh word this often."""
ERASE = "\r\x1b[K"

Far = Callable[[], "tuple[int, int] | None"]
"""(done, total) of what is waited for; None where that is not known yet."""


def watched() -> bool:
    """Whether somebody sees stderr, on a terminal that can go back to the start of a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


COUNTED = re.compile(r"(\d+)\s*/\s*(\d+)(?:\]| \[)")
"""What ninja and make ("[12/345]") and tqdm ("12/345 [00:07<...") say of how far they are."""


def counted(line: str) -> tuple[int, int] | None:
    """How far a program is by a line of its, None where it does not say."""
    found = COUNTED.search(line)
    return (int(found[1]), int(found[2])) if found else None


class Waiting:
    """One wait, for as long as the ``with`` lasts. Whoever waits calls ``look`` again and again; it draws when that is due."""

    def __init__(self, what: str, *, far: Far = lambda: None, now: Callable[[], str] = str, log: Path | None = None) -> None:
        """far: how far it is, now: what happens at the moment; both are asked only when the line is drawn."""
        self.what, self.far, self.now, self.log = what, far, now, log
        self._seen, self._drawn = watched(), False
        self._began = self._counted = time.monotonic()
        self._due = self._began + FIRST_S

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.erase()

    def look(self) -> None:
        """Draw the line, where it is due and seen."""
        if not self._seen or (at := time.monotonic()) < self._due:
            return
        self._due = at + EVERY_S
        self._drawn = True
        sys.stderr.write(ERASE + self.line(at, shutil.get_terminal_size().columns - 1))
        sys.stderr.flush()

    def after(self, check: Callable[[], None]) -> Callable[[], None]:
        """``check``, and then ``look``: what a program's ``watch`` calls while it runs."""

        def both() -> None:
            check()
            self.look()

        return both

    def line(self, at: float, width: int) -> str:
        """The words at an instant of the monotonic clock; what does not fit goes from its end, so that it stays one line."""
        parts, far = [self.what], self.far()
        if far is None or not far[0]:
            self._counted = at  # warm-ups and imports are over when the first is counted
        if far is not None and far[1]:
            done, total = far
            parts.append(f"{done} of {total}, {100 * done // total} %")
            if 0 < done < total and at - self._counted >= EVERY_S:
                parts.append(f"about {duration((at - self._counted) * (total - done) / done)} left")
        parts.append(f"{duration(at - self._began)} so far")
        if said := self.now():
            parts.append(visible(redact.text(said)).replace("\n", " "))
        text = "  " + ", ".join(parts) + (f"; log: {self.log}" if self.log else "")
        return text[:width]

    def erase(self) -> None:
        """Take the line away: what is said next stands in its place."""
        if self._drawn:
            self._drawn = False
            sys.stderr.write(ERASE)
            sys.stderr.flush()


@contextmanager
def ticking(what: str, *, far: Far = lambda: None, now: Callable[[], str] = str, log: Path | None = None) -> Iterator[Waiting]:
    """A wait that blocks, such as for a program: a thread looks."""
    import threading

    with Waiting(what, far=far, now=now, log=log) as waiting:
        if not watched():
            yield waiting
            return
        over = threading.Event()

        def draw() -> None:
            while not over.wait(EVERY_S / 2):
                waiting.look()

        thread = threading.Thread(target=draw, daemon=True)
        thread.start()
        try:
            yield waiting
        finally:
            over.set()
            thread.join()
