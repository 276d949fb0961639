"""`status`: what is applied where, and what work is in progress."""

from __future__ import annotations

import click

from tunefork.base.layout import Layout
from tunefork.base.waiting import ticking
from tunefork.cli import options
from tunefork.cli.output import aside, print_json, table
from tunefork.patchset.checkout.status import UpstreamStatus
from tunefork.patchset.checkout.status import status as look
from tunefork.patchset.sources import pins
from tunefork.patchset.sources.pins import pin_of


@click.command()
@options.upstreams()
@options.as_json()
def status(upstreams: tuple[str, ...], as_json: bool) -> None:
    """Show per upstream the pin, the source, the variant, every patch, work in progress and drift from the lock. Writes nothing of yours."""
    layout = Layout.here()
    found = [looked(layout, pin_of(layout, name).name) for name in upstreams or pins.load(layout)]
    if as_json:
        print_json({"upstreams": found})
        return
    for each in found:
        show(each)


def looked(layout: Layout, name: str) -> UpstreamStatus:
    """The first look of a user at checkouts reads every file of theirs."""
    with ticking(f"looking at {name}'s files"):
        return look(layout, name)


def show(found: UpstreamStatus) -> None:
    """One upstream as a table of its patches, its checkouts below."""
    where = f"{found.variant} from {found.source}, tree {found.tree[:12]}" if found.tree else "not checked out"
    rows = [(patch.name, patch.state, (patch.tree or "")[:12]) for patch in found.patches]
    table(f"{found.name} {found.pin} ({found.commit[:12]}): {where}", ("patch", "state", "tree"), rows)
    for each in found.checkouts:
        aside(f"  work/{each.path.name}: {each.variant}, {each.work.summary()}")
    if found.parked:
        aside(f"  parked: {found.parked} (apply --continue, or apply --abort)")
    for line in found.drift:
        aside(f"  drift: {line}")
    aside()
