"""What is applied in a checkout: the answer that develop, serve and status build on, read from one small file and one ref."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.state import State


@dataclass(frozen=True)
class AppliedTree:
    """One checkout with a variant applied.

    upstream: "vllm" or "aiter".  variant: "base", "all", "only:P", ...
    path: the checkout.  source: "git" or "sdist".
    base, commit, tree: full hashes of the pin's commit, of the last applied commit, of its tree.
    patches: names of the patches in it, in order.
    """

    upstream: str
    variant: str
    path: Path
    source: str
    base: str
    commit: str
    tree: str
    patches: tuple[str, ...]

    @property
    def series_hash(self) -> str:
        """Twelve hex digits that name this revision of the tree; the same in every clone."""
        return self.tree[:12]


def from_state(checkout: Checkout, state: State) -> AppliedTree:
    names = tuple(patch.name for patch in state.patches)
    return AppliedTree(
        checkout.upstream, state.variant, checkout.path, state.source, state.base, state.commit, state.tree, names
    )


def applied_tree(layout: Layout, upstream: str, variant: str | None = None) -> AppliedTree | None:
    """The checkout that holds a variant (None: whatever the primary checkout holds); None where no checkout does."""
    for checkout in checkouts.all_checkouts(layout, upstream):
        state = checkout.state()
        if state is not None and variant in (None, state.variant):
            return from_state(checkout, state)
        if variant is None:
            return None
    return None
