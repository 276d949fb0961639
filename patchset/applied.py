"""What is applied in a checkout: the answer that develop, serve and status build on, read from one small file and one ref."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
