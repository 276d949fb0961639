"""`patch import`: somebody's folder of patches as a series, on any git base."""

from __future__ import annotations

from pathlib import Path

import click

from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import echo, print_json, say


@click.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.upstream("Whose series they become: one of pins.toml, or a new name.", required=True)
@click.option("--base", metavar="REV", default="", help="The tag, branch or commit that they go onto (default: the pin of a known upstream).")
@click.option("--repo", "repository", metavar="REPO", default="", help="A new upstream's git repository: a folder or a URL.")
@options.dry_run("Try every patch and change nothing.")
@options.as_json()
def import_patches(folder: Path, upstream: str, base: str, repository: str, dry_run: bool, as_json: bool) -> None:
    """Take a folder of mail-format patches (git format-patch) or a quilt series onto any git base, canonical and locked.

    Each keeps its name. A hunk goes where it says, or to the only place that holds its lines; one that fits nowhere, or at several
    places, stops the import, and then nothing was changed. A new upstream gets its table in pins.toml, its folder in patches/ and its checkout.

    \b
    python3 build.py patch import ~/outgoing --upstream vllm
    python3 build.py patch import debian/patches --upstream zlib --repo ~/src/zlib --base v1.3.1
    """
    from tunefork.patchset.author.importing import import_folder

    done = import_folder(Layout.here(), folder, upstream, base=base, repository=repository, dry_run=dry_run, say=say)
    if as_json:
        print_json(done)
        return
    for each in done.patches:
        for note in each.notes:
            echo(f"  {each.name}: {note}")
    for line in done.passed:
        echo(f"  passed over {line}")
    verb = "would be imported" if done.dry_run else "imported"
    echo(f"{done.upstream}: {len(done.patches)} patches {verb} onto {done.base[:12]}; tree {done.tree[:12]} in {done.seconds:.2f} s")
