"""`backup`: what --abort, --discard and drop kept."""

from __future__ import annotations

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import echo, print_json, say, table


@click.command()
@click.argument("name", required=False)
@click.option("--restore", is_flag=True, help="Bring NAME back: a branch of its own in work/UPSTREAM@backup-NAME.")
@click.option("--prune", type=click.FloatRange(min=0), metavar="DAYS", help="Delete the backups that are older than this.")
@options.dry_run("With --prune: only say which.")
@options.upstream("Only this one's backups.")
@options.as_json()
def backup(name: str | None, restore: bool, prune: float | None, dry_run: bool, upstream: str | None, as_json: bool) -> None:
    """List what was kept of work that a command gave up: apply --discard and --abort, rebase, edit and upstream --abort, patch drop.

    With NAME (or its beginning, or its commit) show it. Nothing is deleted but by --prune.

    \b
    python3 build.py backup
    python3 build.py backup 20261129T2105 --restore
    python3 build.py backup --prune 90 --dry-run
    """
    from tunefork.patchset.checkout import backups

    layout = Layout.here()
    if (prune is not None and (name or restore)) or (restore and not name) or (dry_run and prune is None):
        raise BadInput("--restore needs a NAME, and --prune takes none; --dry-run goes with --prune", "`python3 build.py backup` lists them")
    if name:
        found = backups.named(layout, name, upstream or "")
        if restore:
            path = backups.restore(layout, found, say=say)
            said = {"name": found.name, "path": path, "commit": found.commit}
            print_json(said) if as_json else echo(f"{found.name} is in {path}, on branch backup/{found.name.replace('/', '-')}")
        elif as_json:
            print_json(found)
        else:
            echo(backups.shown(layout, found), nl=False)
        return
    listed = backups.prune(layout, prune, upstream or "", dry_run=dry_run, say=say) if prune is not None else backups.every(layout, upstream or "")
    if as_json:
        print_json({"backups": listed, "deleted": prune is not None and not dry_run})
        return
    table(f"{len(listed)} backups{'' if prune is None else ' would be deleted' if dry_run else ' deleted'}", ("name", "upstream", "days", "files", "what"),
          [(each.name, each.upstream, f"{each.days:.1f}", str(each.files), each.what) for each in listed])  # fmt: skip
