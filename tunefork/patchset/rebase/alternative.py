"""A series tried on one of the alternative pins of pins.toml: what becomes of each patch there, with nothing moved."""

from __future__ import annotations

from tunefork.base.errors import BadInput, SourceError
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.rebase import rebase
from tunefork.patchset.rebase.rebase import Rebased
from tunefork.patchset.sources import alternatives
from tunefork.patchset.sources.alternatives import Alternative


def tried(layout: Layout, upstream: str, name: str, *, say: Say = quiet) -> tuple[Alternative, Rebased]:
    """Try every patch on an alternative pin.

    SourceError, in one line, where no source here has that pin, or has another commit under its name than pins.toml says.
    """
    found = alternatives.named(layout, upstream, name)
    try:
        done = rebase.check(layout, upstream, found.tag, say=say)
    except (SourceError, BadInput) as error:
        if isinstance(error, BadInput) and found.tag not in error.message:
            raise
        why = "; ".join(line.strip() for line in error.message.splitlines())
        raise SourceError(f"{upstream} {name} cannot be reached from here, so nothing was tried ({found.state}): {why}") from None
    if found.commit and done.base != found.commit:
        raise SourceError(f"{upstream} {name} is {done.base} there, and pins.toml says {found.commit}",
                          "find out which of the two is meant before trusting either")
    return found, done
