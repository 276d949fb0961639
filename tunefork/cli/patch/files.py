"""`patch`: what an author needs to turn commits into patch files and keep the lock true."""

from __future__ import annotations

from pathlib import Path

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.base.near import near, question
from tunefork.base.typed import typed
from tunefork.cli import options
from tunefork.cli.output import clean, echo, print_json, say, styled
from tunefork.patchset.checkout.export import Exported
from tunefork.patchset.series import diff
from tunefork.patchset.series.series import Series, patch_name
from tunefork.patchset.sources import pins


@click.command()
@options.upstreams()
@options.variant("Export from the checkout that holds this variant (default: the primary).", "spec")
@options.dry_run("Change nothing; exit 1 when the files are not what the commits say.")
@options.as_json()
def export(upstreams: tuple[str, ...], spec: str | None, dry_run: bool, as_json: bool) -> int:
    """Turn the commits on a variant's branch back into canonical patch files; updates series and series.lock.

    Without UPSTREAM: every upstream that is checked out. Files that did not change are not touched.
    """
    from tunefork.patchset.checkout.export import export as run

    layout = Layout.here()
    names = upstreams or [name for name in pins.load(layout) if layout.checkout(name).exists()]
    return show([run(layout, name, spec, dry_run=dry_run, say=say) for name in names], dry_run=dry_run, as_json=as_json)


@click.command()
@click.argument("upstream")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 when a file would change.")
@options.as_json()
def lock(upstream: str, check: bool, as_json: bool) -> int:
    """Take the patch files and the series order as they are (after an edit by hand) into series.lock, in canonical form.

    A patch that does not match the tree before it is parked with conflict markers: resolve it, then `apply --continue`.
    """
    from tunefork.patchset.checkout.export import lock_series
    from tunefork.patchset.checkout.park import lock_or_park

    layout = Layout.here()
    report = lock_series(layout, upstream, check=True, say=say) if check else lock_or_park(layout, upstream, say=say)
    return show([report], dry_run=check, as_json=as_json)


@click.command()
@options.upstreams()
@options.as_json("Print the findings as JSON.")
def lint(upstreams: tuple[str, ...], as_json: bool) -> int:
    """Check that every patch says what patches/README.md asks, and that it is true. Exit 1 on an error; warnings are for the author."""
    from tunefork.patchset.inspect.lint import lint as run
    from tunefork.patchset.sources.pins import pin_of

    layout = Layout.here()
    names = [pin_of(layout, name).name for name in upstreams or pins.load(layout)]
    found = [each for name in names for each in run(layout, name, say)]
    errors = sum(each.level == "error" for each in found)
    if as_json:
        print_json({"findings": found, "ok": not errors})
        return 1 if errors else 0
    for each in found:
        echo(f"{each.level}: {each.upstream}/{each.patch}: {each.message} [{each.rule}]\n  try: {each.remedy}")
    warnings, skipped = (sum(each.level == level for each in found) for level in ("warning", "skipped"))
    echo(f"{errors} errors, {warnings} warnings, {skipped} checks skipped")
    return 1 if errors else 0


@click.command("show")
@click.argument("name", metavar="PATCH")
@options.as_json()
def show_patch(name: str, as_json: bool) -> None:
    """Show a patch: its upstream, its place in the series, what it touches, and the file itself."""
    layout = Layout.here()
    every = [Series.load(each, layout.series_dir(each)) for each in pins.load(layout)]
    found = [series for series in every if patch_name(name) in series.files]
    if not found:
        meant = near(patch_name(name), [each for series in every for each in series.names])
        raise BadInput(f"no series has a patch {name!r}", question(meant) + "`python3 build.py status` lists them")
    series, key = found[0], patch_name(name)
    if key in series.picks:
        series = obtained(layout, series)
    file = series.patches[key]
    touched = [change.new_path.decode("utf-8", "replace") for change in diff.parse(key, file.diff)]
    if as_json:
        print_json({"name": key, "upstream": series.upstream, "place": series.names.index(key) + 1, "of": len(series.names),
                    "subject": file.subject, "author": file.author.decode("utf-8", "replace"), "sha256": file.sha256, "files": touched,
                    "depends_on": series.depends_on(key), "picked": series.picks.get(key),
                    "text": (file.diff if file.picked else file.data).decode("utf-8", "replace")})  # fmt: skip
        return
    echo(f"{series.upstream}, patch {series.names.index(key) + 1} of {len(series.names)}: {', '.join(touched)}", bold=True)
    echo(file.data + (b"\n" + file.message + b"\n" + file.diff if file.picked else b""), nl=False)


@click.command("log")
@click.argument("name", metavar="PATCH")
@options.upstream("The upstream whose patch it is or was (default: the one whose series has it).")
@click.option("--stat", "brief", is_flag=True, help="One line per version, without the range-diffs.")
@options.as_json()
def show_log(name: str, upstream: str | None, brief: bool, as_json: bool) -> None:
    """Show how a patch evolved: each commit of this repository that changed its file, with the range-diff against the version before."""
    from tunefork.patchset.inspect.versions import versions

    layout = Layout.here()
    known = pins.load(layout)
    holders = [each for each in known if patch_name(name) in Series.load(each, layout.series_dir(each)).files]
    where = upstream or (holders or list(known))[0]
    if where not in known:
        raise BadInput(f"no upstream {where!r} in pins.toml", f"use one of: {', '.join(known)}")
    if patch_name(name) in (picks := Series.load(where, layout.series_dir(where)).picks):
        raise BadInput(f"{name} picks upstream's commit {picks[patch_name(name)][:12]}: it has no file, and no versions here",
                       f"python3 build.py patch show {name}")
    found = versions(layout, where, patch_name(name))
    if as_json:
        print_json({"upstream": where, "patch": patch_name(name), "versions": found})
        return
    for each in found:
        click.echo(f"{styled(each.commit[:12], fg='yellow')} {clean(f'{each.date[:10]} {each.author}: {each.what}: {each.subject}')}")
        if each.range_diff and not brief:
            echo(each.range_diff)


def obtained(layout: Layout, series: Series) -> Series:
    """The series with its picked commits, from the checkout that has them."""
    from tunefork.patchset.checkout import checkout
    from tunefork.patchset.series import picks

    if not (first := checkout.primary(layout, series.upstream)).exists():
        raise BadInput(f"{series.upstream} is not checked out, and only its repository holds what a pick names",
                       f"python3 build.py apply {series.upstream}")  # fmt: skip
    return picks.obtained(series, pins.load(layout)[series.upstream], first.git, say=say)


@click.command("graph")
@options.upstreams()
@options.as_json()
@click.option("--svg", "svg_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw one upstream's graph.")
def show_graph(upstreams: tuple[str, ...], as_json: bool, svg_file: Path | None) -> None:
    """Show which patch needs which, found by leaving patches out and applying the rest; and where `Depends-On` says otherwise."""
    from tunefork.patchset.inspect.graph import graph

    layout = Layout.here()
    names = upstreams or [name for name in pins.load(layout) if layout.checkout(name).exists()]
    found = {name: graph(layout, name, say=say) for name in names}
    if svg_file:
        from tunefork.patchset.inspect.drawing import svg

        if len(found) != 1:
            raise BadInput(f"--svg draws one upstream, here are {len(found)}", f"python3 build.py patch graph vllm --svg {typed(svg_file)}")
        svg_file.parent.mkdir(parents=True, exist_ok=True)
        svg_file.write_text("".join(svg(f"{name}: what needs what", nodes) for name, nodes in found.items()), encoding="utf-8")
        say(f"drawn in {svg_file}")
    if as_json:
        print_json({"upstreams": found})
        return
    words = {(True, True): "", (True, False): " (not declared)", (False, True): " (declared; applies without)"}
    for name, nodes in found.items():
        echo(name, bold=True)
        for node in nodes:
            needs = ", ".join(each.name + words[each.found, each.declared] for each in node.needs)
            echo(f"  {node.name}" + (f" <- {needs}" if needs else ""))


def show(reports: list[Exported], *, dry_run: bool, as_json: bool) -> int:
    """What changed, or would; 1 when a dry run finds a difference."""
    if as_json:
        print_json({"upstreams": reports, "same": all(report.same for report in reports)})
    else:
        for report in reports:
            lines = [f"{verb} {name}" for verb, names in (("added", report.added), ("changed", report.changed),
                     ("removed", report.removed)) for name in names]  # fmt: skip
            if report.pulled:
                lines.append(f"{', '.join(report.pulled)} changed in patches/ since the checkout was applied, and stays as it is; "
                             f"`{report.remedy}` brings the checkout up to it")
            echo(f"{report.upstream}: " + ("; ".join(lines) if lines else "files are what the commits say"))
    return 1 if dry_run and not all(report.same for report in reports) else 0
