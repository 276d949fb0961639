"""Which patch of a series needs which, found by leaving patches out and applying the rest."""

from __future__ import annotations

from dataclasses import dataclass

from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.git import Git
from tunefork.patchset.series import diff, picks
from tunefork.patchset.series.materialise import Mismatch, materialise, merge_file
from tunefork.patchset.series.series import Series
from tunefork.patchset.sources import sources
from tunefork.patchset.sources.pins import pin_of


@dataclass(frozen=True)
class Need:
    """One patch needs another. found: it does not apply without; declared: its ``Depends-On`` says so."""

    name: str
    found: bool
    declared: bool


@dataclass(frozen=True)
class Node:
    """One patch and what it needs directly, in series order."""

    name: str
    needs: tuple[Need, ...]


def graph(layout: Layout, upstream: str, *, say: Say = quiet) -> list[Node]:
    """Every patch of a series with its direct needs. Fetches the pin if no checkout has it."""
    pin = pin_of(layout, upstream)
    series = Series.load(upstream, layout.series_dir(upstream))
    with checkouts.locked(layout, upstream, say):
        if not checkouts.primary(layout, upstream).exists():
            checkouts.create(layout, pin, sources.obtain(pin, layout, say), say)
        git, base = checkouts.primary(layout, upstream).git, checkouts.state_of_primary(layout, upstream).base
        series = picks.obtained(series, pin, git, say=say)
        materialise(git, base, list(series.patches.values()), merge_file(git))  # the blobs that a merge starts from
        needs: dict[str, set[str]] = {}
        for name in series.names:
            needs[name] = needed(git, base, series, name, needs)
    return [Node(name, direct(series, name, needs)) for name in series.names]


def paths(series: Series, name: str) -> set[bytes]:
    return {path for change in diff.parse(name, series.patches[name].diff) for path in (change.old_path, change.new_path)}


def needed(git: Git, base: str, series: Series, name: str, needs: dict[str, set[str]]) -> set[str]:
    """The least set of earlier patches with which a patch applies. needs: of the earlier ones, closed.

    Only patches that touch a common path can matter; each of them is left out in turn, from the last, with what needs it.
    """
    mine = paths(series, name)
    kept = {each for each in needs if paths(series, each) & mine}
    kept |= {under for each in kept for under in needs[each]}
    for each in [other for other in reversed(series.names) if other in kept]:
        fewer = {other for other in kept if other != each and each not in needs[other]}
        if each in kept and applies(git, base, series, [*(other for other in series.names if other in fewer), name]):
            kept = fewer
    return kept


def applies(git: Git, base: str, series: Series, names: list[str]) -> bool:
    try:
        materialise(git, base, [series.patches[name] for name in names], merge_file(git))
    except Mismatch:
        return False
    return True


def direct(series: Series, name: str, needs: dict[str, set[str]]) -> tuple[Need, ...]:
    """A patch's needs without those that another need brings along, and what it declares."""
    found = {each for each in needs[name] if not any(each in needs[other] for other in needs[name])}
    declared = set(series.depends_on(name))
    return tuple(Need(each, each in found, each in declared) for each in series.names if each in found | declared)
