"""`variants diff`: compare named subsets of a series."""

from __future__ import annotations

import click

from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import echo, print_json, say
from tunefork.patchset.sources import pins


@click.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@options.upstream("Of this upstream only (default: all that are checked out).")
@click.option("--name-only", is_flag=True, help="Name the patches and files, without the diff.")
@options.as_json()
def diff(left: str, right: str, upstream: str | None, name_only: bool, as_json: bool) -> None:
    """Show what variant B changes against variant A: patches, then the trees' diff. No checkout is moved.

    \b
    python3 build.py variants diff base all --upstream vllm
    """
    from tunefork.cli.apply import spec_for
    from tunefork.patchset.inspect import compare

    layout = Layout.here()
    names = [upstream] if upstream else [name for name in pins.load(layout) if layout.checkout(name).exists()]
    found = [compare.variants(layout, name, *(each if upstream else spec_for(layout, name, each) for each in (left, right)), say=say)
             for name in names]  # fmt: skip
    if as_json:
        print_json({"upstreams": found})
        return
    for each in found:
        marks = [*(f"-{name}" for name in each.only_left), *(f"+{name}" for name in each.only_right)]
        echo(f"{each.upstream}: {each.left} -> {each.right}: {' '.join(marks) or 'the same patches'}; {len(each.files)} files differ", bold=True)
        echo(("\n".join(each.files) if name_only else each.diff).encode("utf-8", "surrogateescape"), nl=bool(name_only and each.files))
