"""What two variants of an upstream differ in: their patches, and their trees. No checkout is moved."""

from __future__ import annotations

from dataclasses import dataclass

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout.bring import compose
from tunefork.patchset.checkout.workspace import Workspace
from tunefork.patchset.series import variant
from tunefork.patchset.series.series import Series
from tunefork.patchset.sources.pins import pin_of


@dataclass(frozen=True)
class VariantDifference:
    """left, right: the variants.  only_left, only_right: patches that one of them has.  files: paths that differ.  diff: from left to right."""

    upstream: str
    left: str
    right: str
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    files: tuple[str, ...]
    diff: str


def variants(layout: Layout, upstream: str, left: str, right: str, *, say: Say = quiet) -> VariantDifference:
    """Make both variants in the object database and compare them. PatchConflict where one of them does not apply."""
    pin = pin_of(layout, upstream)
    first = checkouts.primary(layout, upstream)
    if not first.exists():
        raise BadInput(f"{upstream} is not checked out", f"python3 build.py apply {upstream}")
    with checkouts.locked(layout, upstream, say):
        series = Series.load(upstream, layout.series_dir(upstream))
        space = Workspace.verified(layout, pin, series, first)
        sides = [variant.choose(spec, series) for spec in (left, right)]
        made = [compose(space, side) for side in sides]
        trees = [patches[-1].tree if patches else space.state.base_tree for patches in made]
        names = first.git("diff-tree", "-r", "-z", "--name-only", "--no-renames", *trees).decode("utf-8", "surrogateescape").split("\0")[:-1]
        text = first.git("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index", *trees).decode("utf-8", "replace")
    have = [set(side.names) for side in sides]
    return VariantDifference(upstream, sides[0].spec, sides[1].spec, tuple(name for name in series.names if name in have[0] - have[1]),
                      tuple(name for name in series.names if name in have[1] - have[0]), tuple(names), text)
