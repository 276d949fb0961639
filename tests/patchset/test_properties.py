"""The manager's promises, on generated repositories and series: renames, modes, binary, CRLF, odd names, no newline at the end, not UTF-8.

100 series with `--long`; TUNEFORK_EXAMPLES=1000 soaks. Every series goes through export, apply and one of the rest.
"""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from budgets import examples
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from steps import counting
from trees import Tree, commit, contents, edited, modes, paths, place, run

from tunefork.base.errors import TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.process import quiet
from tunefork.patchset.author import edit, refresh, reshape
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export, lock_series
from tunefork.patchset.git import Git
from tunefork.patchset.rebase import rebase
from tunefork.patchset.series.lock import Lock
from tunefork.patchset.sources.pins import Pin
from tunefork.patchset.sources.sources import Source

EXAMPLES = examples(100)
PROPERTY = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 100, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes; print_blob gives the example back
)  # fmt: skip
LAYERS = b"layers"
NEVER = 1_000_000
MESSAGES = ["Subject", "[Tag] Größe", "Long " * 30, "Colon: and = signs", "# hash", "[PATH 1/2] odd"]
BODIES = ["", "Why.", "Two\n\nparagraphs  \n  indented", "-- \nnot a signature\n", "x" * 300, "Zeile\n>From here\n\nScope: python"]


@dataclass
class World:
    """A repository with the base and one commit per patch, and a root that pins the base. trees: the base, then after each patch."""

    layout: Layout
    repository: Path
    commits: list[str]
    trees: list[Tree]

    @property
    def checkout(self) -> Path:
        return self.layout.checkout("up")

    @property
    def series(self) -> Path:
        return self.layout.series_dir("up")

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.series.iterdir()}

    def names(self) -> list[str]:
        return [line.removesuffix(".patch") for line in (self.series / "series").read_text().splitlines()]

    def tree(self, commit: str) -> str:
        return run(self.repository, "rev-parse", f"{commit}^{{tree}}").decode().strip()


@st.composite
def histories(draw: st.DrawFn) -> list[Tree]:
    """A base and what 2 to 5 patches make of it, each different from the one before."""
    base: Tree = {}
    for path, mode, data in draw(st.lists(st.tuples(paths, modes, contents), min_size=2, max_size=6)):
        place(base, path, (mode, data))
    place(base, LAYERS, ("100644", b"".join(b"base %d\n" % at for at in range(12))))
    trees = [base]
    for number in range(draw(st.integers(2, 5))):
        after = dict(trees[-1])
        if draw(st.booleans()):
            after[LAYERS] = (after[LAYERS][0], layered(draw, after[LAYERS][1], number))
        for _ in range(draw(st.integers(1, 3))):
            change(draw, after)
        if after == trees[-1]:
            place(after, b"grows", ("100644", after.get(b"grows", ("", b""))[1] + b"%d\n" % number))
        trees.append(after)
    return trees


def layered(draw: st.DrawFn, data: bytes, number: int) -> bytes:
    """A file that several patches write to, each lines that say whose they are."""
    lines = data.splitlines(keepends=True)
    for at in draw(st.lists(st.integers(0, len(lines)), min_size=1, max_size=2, unique=True)):
        end = draw(st.sampled_from([b"\n", b"\r\n", b" caf\xe9\n"]))
        lines[at : at + draw(st.integers(0, 1))] = [b"patch %d, %d.%d%s" % (number, at, count, end) for count in range(draw(st.integers(1, 2)))]
    return b"".join(lines)


def change(draw: st.DrawFn, after: Tree) -> None:
    """One change of the kinds that people make."""
    path = draw(st.sampled_from(sorted(after.keys() - {LAYERS}) or [b"a"]))
    mode, data = after.get(path, ("100644", b""))
    match draw(st.sampled_from(["edit", "edit", "edit", "edit", "new", "delete", "rename", "mode"])):
        case "edit":
            place(after, path, (mode, edited(draw, data)))
        case "new":
            place(after, draw(paths), (draw(modes), draw(contents)))
        case "delete" if len(after) > 1:
            del after[path]
        case "rename":
            after.pop(path, None)
            place(after, draw(paths), (mode, data))
        case "mode":
            place(after, path, (draw(modes), data))


@contextmanager
def world_of(trees: list[Tree], words: list[tuple[str, str]]) -> Iterator[World]:
    """The world of a history, in memory where the machine has a folder for that."""
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="tunefork-property-", dir=fast if os.access(fast, os.W_OK) else None) as folder:
        repository, root = Path(folder) / "upstream", Path(folder) / "root"
        repository.mkdir()
        run(repository, "init", "--quiet", ".")
        commits = commit(repository, *trees)
        commits = [commits[0], *reworded(repository, commits, words)]
        (root / "patches" / "up").mkdir(parents=True)
        (root / "pins.toml").write_text(f'[upstreams.up]\nurl = "file://{repository}"\ntag = "v1"\ncommit = "{commits[0]}"\nversion = "1.0"\nsubmodules = false\n')
        layout = Layout(root, Path(folder) / "cache")
        pin = Pin("up", f"file://{repository}", "v1", commits[0], "1.0", submodules=False, sdist=None)
        checkouts.create(layout, pin, Source("git", repository / ".git", commits[0]), quiet)
        yield World(layout, repository, commits, trees)


def reworded(repository: Path, commits: list[str], words: list[tuple[str, str]]) -> list[str]:
    """The commits again, with messages and authors of their own."""
    parent, made = commits[0], []
    for number, (each, (subject, body)) in enumerate(zip(commits[1:], words, strict=False), 1):
        person = ["-c", f"user.name=Ä. {number}", "-c", f"user.email={number}@x"]
        text = f"{subject} {number}\n\n{body}".rstrip()
        parent = run(repository, *person, "commit-tree", f"{each}^{{tree}}", "-p", parent, "-F", "-", stdin=text.encode()).decode().strip()
        made.append(parent)
    return made


def exported(world: World) -> dict[str, bytes]:
    """Put the history on the checkout's branch, as its author would, and export it."""
    apply(world.layout, "up")
    git = Git(world.checkout)
    git("read-tree", "-m", "-u", "HEAD", world.commits[-1])
    git("update-ref", "HEAD", world.commits[-1])
    export(world.layout, "up")
    return world.files()


# -- the promises -----------------------------------------------------------------------------------------------


def apply_is_pure(world: World, files: dict[str, bytes]) -> None:
    """Another root, made from the files alone, has the same commits; and the trees are those of the history."""
    other = Layout(world.layout.root.with_name("other"), world.layout.cache)
    shutil.copytree(world.layout.root / "patches", other.root / "patches")
    shutil.copyfile(world.layout.pins, other.pins)
    pin = Pin("up", f"file://{world.repository}", "v1", world.commits[0], "1.0", submodules=False, sdist=None)
    checkouts.create(other, pin, Source("git", world.repository / ".git", world.commits[0]), quiet)
    here, there = apply(world.layout, "up"), apply(other, "up")
    assert here.commit == there.commit
    assert [each.tree for each in there.patches] == [world.tree(each) for each in world.commits[1:]]
    assert apply(other, "up").changed == 0
    assert Git(other.checkout("up"))("status", "--porcelain", "--ignored") == b""


def export_gives_the_files_back(world: World, files: dict[str, bytes]) -> None:
    assert export(world.layout, "up", dry_run=True).same and lock_series(world.layout, "up", check=True).same
    assert world.files() == files


def rebase_onto_the_same_pin_is_the_identity(world: World, files: dict[str, bytes]) -> None:
    done = rebase.check(world.layout, "up", str(world.repository) + "@" + world.commits[0])
    assert [(each.outcome, each.why, each.range_diff) for each in done.patches] == [("clean", "exact", "")] * len(done.patches)
    assert done.tree == world.tree(world.commits[-1]) and world.files() == files


def independent_patches_commute(world: World, files: dict[str, bytes], at: int) -> None:
    """Neighbours that touch no common path (nor one inside the other) change places without a file of theirs changing, and back."""
    lock = Lock.load(world.series)
    assert lock is not None
    names = world.names()
    at %= len(names) - 1
    first, second = lock.patches[at], lock.patches[at + 1]
    apart = all(one.path != two.path and not one.path.startswith(two.path + b"/") and not two.path.startswith(one.path + b"/")
                for one in first.touches for two in second.touches)  # fmt: skip
    before = Git(world.checkout).text("rev-parse", "HEAD^{tree}")
    try:
        done = reshape.reorder(world.layout, "up", [second.name], before=first.name)
    except TuneforkError:
        assert not apart and world.files() == files
        with suppress(TuneforkError):
            edit.abort(world.layout, "up")
        return
    assert done.tree == before == Git(world.checkout).text("rev-parse", "HEAD^{tree}")
    if apart:
        assert {name: data for name, data in world.files().items() if name.endswith(".patch")} == {
            name: data for name, data in files.items() if name.endswith(".patch")}  # fmt: skip
        reshape.reorder(world.layout, "up", [second.name], after=first.name)
        assert world.files() == files
    else:
        restore(world, files)


def refresh_finds_the_owner(world: World, at: int) -> None:
    """A line that one patch wrote, changed in the checkout, goes to that patch or is refused; the checkout keeps its every byte."""
    git, names = Git(world.checkout), world.names()
    written = [(number, path, line) for number, (before, after) in enumerate(zip(world.trees, world.trees[1:], strict=False))
               for path, (mode, data) in after.items() if mode != "120000" and b"\0" not in data and before.get(path, ("", b""))[1] != data
               for line in set(data.split(b"\n")) - set(before.get(path, ("", b""))[1].split(b"\n"))]  # fmt: skip
    last = world.trees[-1]
    unique = [(number, path, line) for number, path, line in written
              if line.strip() and path in last and last[path][0] != "120000" and b"\0" not in last[path][1] and last[path][1].split(b"\n").count(line) == 1
              and sum(each[1:] == (path, line) for each in written) == 1]  # fmt: skip
    if not unique:
        return
    unique = sorted(each for each in unique if each[1] == LAYERS) or sorted(unique)
    number, path, line = unique[at % len(unique)]
    file = Path(os.fsdecode(os.path.join(os.fsencode(world.checkout), path)))
    mine = b"\n".join(b"refreshed " + each if each == line else each for each in last[path][1].split(b"\n"))
    file.write_bytes(mine)
    before, status = world.files(), git("status", "--porcelain", "-z")
    try:
        done = refresh.refresh(world.layout, "up")
    except TuneforkError as error:
        note(f"refused: {error.message}")
        # There a line's owner is never in doubt, and git merges all but neighbours; elsewhere a later patch may have renamed or rewritten the file.
        assert path != LAYERS or touched_beside(world.trees[number + 1 :], line), error
        assert world.files() == before and file.read_bytes() == mine and git("status", "--porcelain", "-z") == status
        file.write_bytes(last[path][1])
        return
    assert [part.patch for part in done.parts] == [names[number]], (path, line, done.parts)
    assert file.read_bytes() == mine and git("status", "--porcelain") == b""
    assert export(world.layout, "up", dry_run=True).same and apply(world.layout, "up").changed == 0


def touched_beside(trees: list[Tree], line: bytes) -> bool:
    """Whether a later patch changes LAYERS in the line before or behind this one: of two sides' changes that touch, git's merge makes a conflict."""
    for before, after in pairwise(trees):
        old, new = (tree[LAYERS][1].split(b"\n") for tree in (before, after))
        at = old.index(line)
        changed = [code[1:3] for code in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if code[0] != "equal"]
        if any(begin <= at + 1 and end >= at for begin, end in changed):
            return True
    return False


def restore(world: World, files: dict[str, bytes]) -> None:
    for path in world.series.iterdir():
        path.unlink()
    for name, data in files.items():
        (world.series / name).write_bytes(data)
    apply(world.layout, "up")


def edit_first(layout: Layout, names: list[str]) -> None:
    """Stop at the first patch, add a file to it, and go on."""
    path = edit.start(layout, "up", names[0]).path
    (path / "by hand").write_bytes(b"by hand\n")
    Git(path)("add", "by hand")
    edit.go_on(layout, "up")


COMMANDS: dict[str, Callable[[Layout, list[str]], object]] = {
    "edit": edit_first,
    "drop": lambda layout, names: reshape.drop(layout, "up", names[-1:]),
    "rename": lambda layout, names: reshape.rename(layout, "up", names[0], "another-name"),
    "squash": lambda layout, names: reshape.squash(layout, "up", names[-2:]),
    "apply base": lambda layout, _: apply(layout, "up", "base"),
    "export": lambda layout, _: export(layout, "up"),
    "refresh": lambda layout, names: refresh.refresh(layout, "up", names[-1]),
}


def interrupted_is_before_or_after(world: World, command: str, places: list[int]) -> None:
    """Kill a command at some of its steps; after the next command the state is the one before it or the one after it, whole.

    places: steps, most of them counted back from the command's end, where it writes. The next command is an apply of the whole series,
    or for an export another one, as its message says.
    """
    root, saved = world.layout.root, world.layout.root.with_name("saved")
    names, call = world.names(), COMMANDS[command]
    if command in ("refresh", "export"):
        (world.checkout / "by hand").write_bytes(b"by hand\n")
        Git(world.checkout)("add", "by hand")
    if command == "export":
        run(world.checkout, "-c", "user.name=a", "-c", "user.email=b", "commit", "--quiet", "-m", "By hand")
    shutil.copytree(root, saved, symlinks=True)
    before = state(world)
    with counting(NEVER) as steps, suppress(TuneforkError):
        call(world.layout, names)
    after = state(world)
    for where in places:
        shutil.rmtree(root)
        shutil.copytree(saved, root, symlinks=True)
        step = where if where >= 0 else max(steps[0] + where, 0)
        kill_at(step, lambda: call(world.layout, names))
        if command == "export":
            export(world.layout, "up")
        else:
            apply(world.layout, "up")
        with suppress(TuneforkError):
            edit.abort(world.layout, "up")
        assert state(world) in ((before,) if command == "apply base" else (before, after)), (command, step, steps)
        assert not list(world.series.glob("*.tmp*"))


def state(world: World) -> tuple[dict[str, bytes], str, bytes]:
    """Series, what HEAD makes, and what the checkout holds beyond it."""
    git = Git(world.checkout)
    return world.files(), git.text("rev-parse", "HEAD^{tree}"), git("status", "--porcelain", "-z")


def kill_at(step: int, call: Callable[[], object]) -> None:
    """Run a call in a child that is killed at a step."""
    child = os.fork()
    if child == 0:
        try:
            with counting(step):
                call()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.slow
@pytest.mark.timeout(0 if EXAMPLES > 100 else 600)
@PROPERTY
@given(trees=histories(), words=st.lists(st.tuples(st.sampled_from(MESSAGES), st.sampled_from(BODIES)), min_size=5, max_size=5),
       at=st.integers(0, 30), also=st.sampled_from(["rebase", "reorder", "interrupt", "refresh"]),
       command=st.sampled_from(sorted(COMMANDS)),
       places=st.lists(st.one_of(st.integers(-22, -1), st.integers(-22, -1), st.integers(0, 77)), min_size=3, max_size=3, unique=True))  # fmt: skip
def test_every_promise(trees: list[Tree], words: list[tuple[str, str]], at: int, also: str, command: str, places: list[int]) -> None:
    """Every series is exported and applied, and goes through one of the other promises."""
    with world_of(trees, words) as world:
        files = exported(world)
        export_gives_the_files_back(world, files)
        apply_is_pure(world, files)
        match also:
            case "rebase":
                rebase_onto_the_same_pin_is_the_identity(world, files)
            case "reorder":
                independent_patches_commute(world, files, at)
            case "refresh":
                refresh_finds_the_owner(world, at)
            case "interrupt":
                interrupted_is_before_or_after(world, command, places)
