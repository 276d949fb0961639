"""`variants diff`, `variants test`: compare named subsets of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import echo, print_json, say
from tunefork.patchset.sources import pins

if TYPE_CHECKING:
    from tunefork.develop.upstream_tests import Compared


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


@click.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.argument("tests", nargs=-1, type=click.UNPROCESSED, metavar="[-- PYTEST_ARGUMENT...]")
@options.as_json()
def test(left: str, right: str, tests: tuple[str, ...], as_json: bool) -> int:
    """Run a selection of vLLM's own tests on two variants side by side, offline, and report the differences alone.

    Without a selection: the tests that the patches name in which A and B differ (`Upstream-Tests:`). It needs a finished develop; a
    variant that work/vllm does not hold is applied beside it. Exit 1 where a test fails on B and not on A.

    \b
    python3 build.py variants test base all
    python3 build.py variants test base only:compile-sizes -- tests/compile/test_config.py -k sizes
    """
    from tunefork.develop import upstream_tests
    from tunefork.develop.variants import environment
    from tunefork.patchset.series.series import Series

    layout = Layout.here()
    series = Series.load("vllm", layout.series_dir("vllm"))
    tests = tests or upstream_tests.selection(series, left, right)
    found = upstream_tests.both(layout, environment(layout, left, say), environment(layout, right, say), tests, say)
    if as_json:
        print_json(found)
    else:
        show_compared(found)
    return 1 if found.newly_failing else 0


def show_compared(found: Compared) -> None:
    """The differences, then how many ended alike."""
    from tunefork.develop.upstream_tests import names

    echo(f"vLLM's tests: {found.left} ({found.seconds[0]:g} s) -> {found.right} ({found.seconds[1]:g} s)", bold=True)
    for title, tests in (("newly failing", found.newly_failing), ("newly passing", found.newly_passing), ("otherwise", found.otherwise),
                         (f"only on {found.left}", found.only_left), (f"only on {found.right}", found.only_right)):  # fmt: skip
        for each in tests:
            echo(f"  {title}: {each}")
    echo(f"  same on both: {names(found.same)}")
