"""`clean`: remove builds, never work."""

from __future__ import annotations

import click

from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import echo, print_json
from tunefork.develop import clean as cleaning


@click.command()
@click.option("--cache", is_flag=True,
              help="Also what can be made or fetched again in the cache, which all your checkouts share: builds, downloads, models, compilers.")
@options.dry_run("Only say what would go.")
@options.as_json()
def clean(cache: bool, dry_run: bool, as_json: bool) -> None:
    """Remove build folders, compiled files and logs of this project's checkouts; `develop` makes them again.

    Checkouts, patches, edits and untracked files stay: of a checkout only what git ignores goes, and packs that git left half-written.

    \b
    python3 build.py clean --dry-run
    python3 build.py clean --cache
    """
    removed = cleaning.clean(Layout.here(), cache=cache, dry_run=dry_run)
    if as_json:
        print_json(removed)
        return
    for item in removed:
        echo(f"{item.size / 1e6:10.1f} MB  {item.path}  ({item.why})")
    total = sum(item.size for item in removed) / 1e6
    echo(f"{'would free' if dry_run else 'freed'} {total:.1f} MB" if removed else "nothing to remove")
