"""A large series beside other patch managers: ``python -m studies.series.scale [PATCHES] [--rounds N] [--json]``.

One-file patches on the real vLLM tree, each case timed in turn and several times over, in the same run:

    apply     from the unpatched pin to the whole series    git am, stg import, quilt push -a
    nothing   the command once more                         (git am has no such thing: it is compared with its full run)
    edit      the patch in the middle changed, series again stg: pop, refresh, push; quilt: pop, refresh, push; git am: all of it again
    refresh, edit --continue   the middle one's line changed in the checkout, or in its edit; rebase --check onto one new commit of upstream
    export    commits back to files, none changed           git format-patch, stg export
    lint      every rule and every dependency by trial      -

stg and quilt come from Debian; one that is not installed is left out and named.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from studies.series.speed import UPSTREAM, clock, generate, no_op, publish, start
from tunefork.base.layout import Layout
from tunefork.patchset.author import edit as editing
from tunefork.patchset.author import refresh as refreshing
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export, lock_series
from tunefork.patchset.git import Git
from tunefork.patchset.inspect.lint import lint
from tunefork.patchset.rebase import rebase as rebasing
from tunefork.patchset.series.series import Series

PATCHES, ROUNDS = 300, 3
WHO = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@localhost",
       "GIT_COMMITTER_NAME": "T", "GIT_COMMITTER_EMAIL": "t@localhost", "QUILT_PATCHES": "patches", "QUILTRC": "-"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What one tool took for one thing. seconds: every round's wall time."""

    tool: str
    what: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def sh(where: Path, *words: str) -> None:
    """Run a tool as a user does; its output is shown when it fails."""
    done = subprocess.run(words, cwd=where, env={**os.environ, **WHO}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:4])}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def plain_tree(author: Layout, scratch: Path) -> Path:
    """A clone of the pin for one of the other tools."""
    tree = scratch / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    base = Git(author.checkout(UPSTREAM)).text("rev-parse", "tunefork/base")
    sh(scratch, "git", "clone", "--quiet", "--no-checkout", "--shared", str(author.checkout(UPSTREAM)), str(tree))
    sh(tree, "git", "checkout", "--quiet", "-B", "main", base)
    return tree


def edit_file(tree: Path, author: Layout, name: str) -> None:
    """Change the line that a patch inserts, in the tree."""
    diff = Series.load(UPSTREAM, author.series_dir(UPSTREAM)).patches[name].diff
    path = tree / diff.split(b"\n", 1)[0].rpartition(b" b/")[2].decode()
    number = int(name[1:])
    text = path.read_bytes()
    marked = b"# measured change %d\n" % number
    assert marked in text, (path, marked)
    path.write_bytes(text.replace(marked, marked[:-1] + b" again\n"))


def with_git(tree: Path, author: Layout, files: list[str], middle: str) -> dict[str, float]:
    """git am of everything, again after an edit, and format-patch."""
    found = {"apply": clock(lambda: sh(tree, "git", "am", "--quiet", "-3", "--keep-non-patch", *files))}
    base = Git(author.checkout(UPSTREAM)).text("rev-parse", "tunefork/base")
    found["export"] = clock(lambda: sh(tree, "git", "format-patch", "--quiet", "-o", str(tree.with_name("out")), base))

    def again() -> None:
        sh(tree, "git", "reset", "--quiet", "--hard", base)
        sh(tree, "git", "am", "--quiet", "-3", "--keep-non-patch", *files)

    found["edit"] = clock(again)
    return found


def with_stg(tree: Path, author: Layout, files: list[str], middle: str) -> dict[str, float]:
    """stg import of the series; the middle one edited between a goto and a push."""
    sh(tree, "stg", "init")
    found = {"apply": clock(lambda: sh(tree, "stg", "import", "--series", str(author.series_dir(UPSTREAM) / "series")))}
    found["export"] = clock(lambda: sh(tree, "stg", "export", "--dir", str(tree.with_name("out"))))

    def edit() -> None:
        sh(tree, "stg", "goto", middle)
        edit_file(tree, author, middle)
        sh(tree, "stg", "refresh")
        sh(tree, "stg", "push", "--all")

    found["edit"] = clock(edit)
    return found


def with_quilt(tree: Path, author: Layout, files: list[str], middle: str) -> dict[str, float]:
    """quilt push -a; the middle one edited between a pop and a push."""
    shutil.copytree(author.series_dir(UPSTREAM), tree / "patches")
    found = {"apply": clock(lambda: sh(tree, "quilt", "push", "-aq"))}

    def edit() -> None:
        sh(tree, "quilt", "pop", "-q", f"{middle}.patch")
        edit_file(tree, author, middle)
        sh(tree, "quilt", "refresh")
        sh(tree, "quilt", "push", "-aq")

    found["edit"] = clock(edit)
    return found


def with_ours(home: Layout, author: Layout, root: Path, middle: str) -> dict[str, float]:
    """apply, the command again, the middle one edited in its checkout's file and folded in, export, lint."""
    found = {"apply": clock(lambda: apply(home, UPSTREAM)), "nothing": clock(lambda: no_op(home, root))}
    found["nothing (library)"] = clock(lambda: apply(home, UPSTREAM))
    found["export"] = clock(lambda: export(home, UPSTREAM, dry_run=True))
    found["lint"] = clock(lambda: lint(home, UPSTREAM))
    path = home.series_dir(UPSTREAM) / f"{middle}.patch"
    path.write_bytes(path.read_bytes().replace(b"+# measured change %d\n" % int(middle[1:]), b"+# measured change %d again\n" % int(middle[1:])))

    def edit() -> None:
        lock_series(home, UPSTREAM)
        apply(home, UPSTREAM)

    found["edit"] = clock(edit)
    changed(home.checkout(UPSTREAM), middle, b"again", b"in the checkout")
    found["refresh"] = clock(lambda: refreshing.refresh(home, UPSTREAM, middle))
    editing.start(home, UPSTREAM, middle)
    changed(home.checkout(UPSTREAM, "edit"), middle, b"in the checkout", b"edited")
    found["edit --continue"] = clock(lambda: editing.go_on(home, UPSTREAM))
    found["rebase --check"] = clock(lambda: rebasing.check(home, UPSTREAM, str(newer(home))))
    return found


def changed(tree: Path, middle: str, before: bytes, after: bytes) -> None:
    """Change the line that the middle patch inserts, in a tree that holds it."""
    mark = b"# measured change %d " % int(middle[1:])
    path = next(tree / name for name in Git(tree).text("grep", "-l", "-F", mark.decode().strip() + " ", "--", "vllm/").split("\n"))
    text = path.read_bytes()
    assert mark + before in text, path
    path.write_bytes(text.replace(mark + before, mark + after))


def newer(home: Layout) -> Path:
    """A repository whose tip is one commit of upstream's after the pin: a line at the end of a file that no patch changes."""
    tree = home.root / "newer"
    if not tree.exists():
        git = Git(home.checkout(UPSTREAM))
        sh(home.root, "git", "clone", "--quiet", "--no-checkout", "--shared", str(home.checkout(UPSTREAM)), str(tree))
        sh(tree, "git", "checkout", "--quiet", "-B", "main", git.text("rev-parse", "tunefork/base"))
        with (tree / "README.md").open("a") as file:
            file.write("One line.\n")
        sh(tree, "git", "commit", "--quiet", "-a", "-m", "One line")
    return tree


TOOLS: dict[str, Callable[[Path, Layout, list[str], str], dict[str, float]]] = {"git": with_git, "stg": with_stg, "quilt": with_quilt}


def measure(cache: Path, root: Path, scratch: Path, count: int = PATCHES, rounds: int = ROUNDS) -> list[Case]:
    """Every tool's cases, interleaved round by round. cache: with the upstream's source in it.  root: the project."""
    author = Layout(scratch / "author", cache)
    start(author, root)
    generate(author, count)
    lock_series(author, UPSTREAM)
    series = Series.load(UPSTREAM, author.series_dir(UPSTREAM))
    files = [str(author.series_dir(UPSTREAM) / f"{name}.patch") for name in series.names]
    middle = series.names[len(series.names) // 2]
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        found = {}
        for tool, run in TOOLS.items():
            if shutil.which(tool):
                found[tool] = run(plain_tree(author, scratch), author, files, middle)
        fresh = Layout(scratch / f"user{number}", cache)
        start(fresh, root)
        publish(author, fresh)
        found["tunefork"] = with_ours(fresh, author, root, middle)
        shutil.rmtree(fresh.root)
        for tool, times in found.items():
            for what, value in times.items():
                seconds.setdefault((tool, what), []).append(value)
    return [Case(tool, what, tuple(values)) for (tool, what), values in seconds.items()]


def table(cases: list[Case], count: int) -> str:
    """A Markdown table: seconds and their spread, and how many times faster ours is; what git am cannot do stands against its full run."""
    by = {(case.tool, case.what): case for case in cases}
    lines = [f"| {count} patches | tunefork s | " + " | ".join(f"{tool} s (x ours)" for tool in TOOLS) + " |", "|---" * (len(TOOLS) + 2) + "|"]
    for what in ("apply", "nothing", "nothing (library)", "edit", "export", "lint"):
        ours = by["tunefork", what]
        cells = []
        for tool in TOOLS:
            other = by.get((tool, what)) or (by.get((tool, "apply")) if what.startswith("nothing") else None)
            cells.append(f"{shown(other)}: {other.median / ours.median:.1f}" if other else "-")
        lines.append(f"| {what} | {shown(ours)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(case: Case) -> str:
    return f"{case.median:.2f} ({min(case.seconds):.2f}-{max(case.seconds):.2f})"


def main(argv: list[str]) -> int:
    """Print the table, or JSON."""
    here = Layout.here()
    numbers = [int(word) for word in argv if word.isdigit()]
    rounds = int(argv[argv.index("--rounds") + 1]) if "--rounds" in argv else ROUNDS
    count = numbers[0] if numbers and argv[0].isdigit() else PATCHES
    for tool in TOOLS:
        if not shutil.which(tool):
            print(f"LEFT OUT: {tool} is not installed (Debian's package: {'stgit' if tool == 'stg' else tool})", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="tunefork-scale-", dir=here.work) as scratch:
        cases = measure(here.cache, here.root, Path(scratch), count, rounds)
    print(json.dumps([asdict(case) for case in cases]) if "--json" in argv else table(cases, count))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
