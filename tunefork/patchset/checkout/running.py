"""Which checkout a server runs from: a lock that is held while it runs, so that whatever moves its files can say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.base.mutex import claimed, locked
from tunefork.base.process import Say, quiet


def lock_file(checkout: Path) -> Path:
    return checkout.parent / ".locks" / f"{checkout.name}.runs"


@contextmanager
def running_from(layout: Layout, checkout: Path) -> Iterator[None]:
    """Hold for as long as a server of this process runs from a checkout. Several may."""
    if checkout.parent != layout.work:
        yield
        return
    with locked(lock_file(checkout), quiet, "", shared=True):
        yield


def warn(checkout: Path, say: Say) -> None:
    """Say so where a server runs from a checkout whose files are about to change."""
    try:
        with lock_file(checkout).open("rb") as file:
            free = claimed(file)
    except OSError:  # none ever ran from it
        return
    if not free:
        say(f"warning: a server runs from work/{checkout.name}; it keeps what it has loaded, and what it imports later is new: restart it")
