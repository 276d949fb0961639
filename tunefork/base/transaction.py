"""A transaction: work of several steps, with a journal that tells whoever comes next, after a stop or a kill, how to end it.

What all of them share:

begin     The journal is written when all that it speaks of is there (a worktree, commits under refs). Without it nothing began: what
          lies around without one is rubbish, which the next begin removes.
step      It is written again, whole, by the one atomic write: a reader sees the last step or the one before, never half of one.
read      Back into what the owner works with. ``Damaged``, where a hand or a disk broke it, says how to be rid of it.
end       It goes, with what a kill left of writing it: first of all where half of the rest must not be gone on with, last where
          every part may be done twice. The owner says which.
lock      The owner holds the upstream's lock (checkout.locked) from before the first step until after the last.

Who owns which, and how it ends:

journal                                     of                       its owner               continue    abort
work/UP/.git/tunefork/CHECKOUT.journal      a checkout's move        checkout/switch.py      by itself   by itself
work/.rebase/UP/journal.json                series or pin, moved     checkout/repin.py       by itself   it is final
work/UP/.git/tunefork/parked.json           a parked patch           checkout/park.py        apply       apply --abort
work/.rebase/UP/progress.json               a rebase that waits      rebase/rebase.py        rebase      rebase --abort
work/.edit/UP/progress.json                 an edit that waits       author/stop.py          patch edit  patch edit --abort
work/UP/.git/tunefork/upstream-PATCH.waits  a pull request's branch  upstream/submission.py  upstream    upstream --abort
work/.bisect/UP.json                        a bisection              inspect/bisection.py    bisect      bisect --reset

``By itself``: by the next command on that upstream, which finishes the move or takes it back. Of the others the user is asked; the
continuing command is the one named, with ``--continue``.

Two journals are none of these. bench/kernels/journal.py adds one checked line per result: hours of them are not written again each
time. bench/submit/submit.py keeps every entry: it is the account of what was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tunefork.base import jsons
from tunefork.base.errors import BadInput
from tunefork.base.files import write_atomically

Kind = TypeVar("Kind")


class Damaged(BadInput):
    """A journal cannot be read."""


@dataclass(frozen=True)
class Transaction:
    """One transaction, by the path of its journal."""

    journal: Path

    @property
    def under_way(self) -> bool:
        return self.journal.is_file()

    def step(self, state: object, *, indent: int | None = None) -> None:
        """Begin, or go one step on. state: what JSON can hold; bytes as ``text_of`` makes them."""
        write_atomically(self.journal, json.dumps(state, indent=indent).encode())

    def read(self, make: Callable[[Any], Kind], remedy: str) -> Kind | None:
        """What ``make`` makes of the last step; None where nothing is under way. Errors: Damaged, with ``remedy``."""
        try:
            return make(jsons.loads(self.journal.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise Damaged(f"{self.journal} is damaged: {why}", remedy) from None

    def end(self) -> None:
        """Nothing is under way any more."""
        self.journal.unlink(missing_ok=True)
        for leftover in self.journal.parent.glob(f"{self.journal.name}.tmp*"):
            leftover.unlink(missing_ok=True)


def text_of(data: bytes) -> str:
    """Bytes for a journal, each as the character of its number: JSON holds no bytes."""
    return data.decode("latin-1")


def bytes_of(text: str) -> bytes:
    """The bytes that ``text_of`` was given."""
    return text.encode("latin-1")
