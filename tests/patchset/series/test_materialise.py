"""tunefork/patchset/series/materialise.py: where git would guess, refuse; and the same input makes the same hashes in any repository."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from trees import Tree, commit, run

from tunefork.patchset.git import Git
from tunefork.patchset.series import mail
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Mismatch, materialise, merge_file
from tunefork.patchset.series.materialise import Tree as MutableTree

HEAD = b"From 0 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: %s\n\nWhy.\n---\n\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repository")


def new_repository(folder: Path) -> Path:
    folder.mkdir()
    run(folder, "init", "--quiet", ".")
    for key, value in {"user.name": "Tester", "user.email": "t@t"}.items():
        run(folder, "config", key, value)
    return folder


def text(*lines: str) -> tuple[str, bytes]:
    return "100644", "".join(f"{line}\n" for line in lines).encode()


def patch(repository: Path, before: str, after: str, name: str = "p") -> PatchFile:
    told = run(repository, "diff-tree", "-p", "--binary", "--full-index", "--no-renames", before, after)
    return mail.read(name, HEAD % name.encode() + told)


def tree(repository: Path, commit: str) -> str:
    return run(repository, "rev-parse", f"{commit}^{{tree}}").decode().strip()


# -- the wrong place --------------------------------------------------------------------------------------------

METHOD = [
    "    def forward(self, x):", "        residual = x", "        x = self.norm(x)", "        x = self.router(x)", "        x = self.out(x)",
    "        x = x + residual", "        return x", "",
]  # fmt: skip


def layers(*names: str, changed: str = "") -> tuple[str, bytes]:
    """Classes that hold the same method each; ``changed`` names the one whose method routes without a copy."""
    lines: list[str] = []
    for name in names:
        body = [line.replace("router(x)", "router(x, copy=False)") for line in METHOD] if name == changed else METHOD
        lines += [f"class {name}:", *body]
    return text(*lines)


def test_what_git_am_misapplies_is_refused(repository: Path) -> None:
    """Upstream put a class with an equal method above the one that the patch changes, of the same length as what it removed there.

    git finds the context at the old line, in the wrong class, and says that all is well: plain, with -3, and with `git apply --index`.
    """
    names = ["Padding", "Dense", "Routed", "Tail"]
    moved = ["Padding", "Extra", "Dense", "Routed", "Tail"]
    base, meant, pin = commit(
        repository,
        {b"layers.py": layers(*names)}, {b"layers.py": layers(*names, changed="Routed")}, {b"layers.py": layers(*moved)},
    )  # fmt: skip
    change = patch(repository, base, meant)  # the three lines around the change are the same in every class
    wrong = commit(repository, {b"layers.py": layers(*moved, changed="Dense")})[0]
    right = commit(repository, {b"layers.py": layers(*moved, changed="Routed")})[0]
    for command in (["am", "--quiet"], ["am", "--quiet", "-3"], ["apply", "--index"]):
        run(repository, "checkout", "--quiet", "--force", "--detach", pin)
        done = subprocess.run(["git", *command], cwd=repository, input=change.data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        result = run(repository, "write-tree").decode().strip()
        assert result == tree(repository, wrong) != tree(repository, right)
    with pytest.raises(Mismatch, match=r"p\.patch does not match: layers\.py is blob [0-9a-f]{12} in the tree, the patch was made from"):
        materialise(Git(repository), pin, [change])


def test_a_merge_never_lands_in_the_wrong_place(repository: Path) -> None:
    """The same with three-way merging, as the variants use it: right, or a conflict."""
    names, moved = ["Padding", "Dense", "Routed", "Tail"], ["Padding", "Extra", "Dense", "Routed", "Tail"]
    base, meant, pin, right = commit(
        repository,
        {b"layers.py": layers(*names)}, {b"layers.py": layers(*names, changed="Routed")}, {b"layers.py": layers(*moved)},
        {b"layers.py": layers(*moved, changed="Routed")},
    )  # fmt: skip
    git = Git(repository)
    try:
        made = materialise(git, pin, [patch(repository, base, meant)], merge_file(git))
    except Mismatch as mismatch:
        assert "conflicts with" in mismatch.message
    else:
        assert made[0].tree == tree(repository, right)


def test_an_edited_hunk_is_found_by_its_blob(repository: Path) -> None:
    base, tip = commit(repository, {b"f": text("one", "two")}, {b"f": text("one", "TWO")})
    edited = mail.read("p", patch(repository, base, tip).data.replace(b"+TWO", b"+EVIL"))
    with pytest.raises(Mismatch, match="its hunks make blob [0-9a-f]{12}, its index line says [0-9a-f]{12}: it was edited by hand"):
        materialise(Git(repository), base, [edited])
    assert materialise(Git(repository), base, [edited], trust_index=False)[0].touches


# -- a pure function --------------------------------------------------------------------------------------------


def test_hashes_are_the_same_in_any_repository(tmp_path: Path) -> None:
    trees: list[Tree] = [{b"f": text("1")}, {b"f": text("2")}, {b"g": text("2"), b"h": ("100755", b"\0\1")}]
    made = []
    for number in range(2):
        here = new_repository(tmp_path / str(number))
        if number:
            run(here, "config", "core.autocrlf", "true")
            run(here, "config", "user.name", "Another")
            run(here, "config", "i18n.commitEncoding", "ISO-8859-1")
            commit(here, {b"noise": text("x")})
        commits = commit(here, *trees)
        patches = [patch(here, before, after, f"p{at}") for at, (before, after) in enumerate(pairwise(commits))]
        made.append(materialise(Git(here), commits[0], patches))
    assert made[0] == made[1] and len(made[0]) == 2
    assert [each.tree for each in made[0]] == [tree(here, each) for each in commits[1:]]


def test_nothing_is_left_but_the_objects(repository: Path) -> None:
    base, tip = commit(repository, {b"f": text("1")}, {b"f": text("2")})
    change = patch(repository, base, tip)
    files = {path for path in (repository / ".git").rglob("*") if "objects" not in path.parts}
    refs = run(repository, "for-each-ref")
    assert materialise(Git(repository), base, []) == []
    for patches in ([change], [change, change]):
        try:
            materialise(Git(repository), base, patches)
        except Mismatch as mismatch:
            assert [each.name for each in mismatch.made] == ["p"]
            run(repository, "cat-file", "-e", mismatch.made[0].commit)
    assert run(repository, "for-each-ref") == refs
    assert {path for path in (repository / ".git").rglob("*") if "objects" not in path.parts and path.is_file()} <= files


# -- what does not fit ------------------------------------------------------------------------------------------

F, G = text("one", "two"), text("other")


@pytest.mark.parametrize(
    ("before", "after", "pin", "why"),
    [
        ({}, {b"f": F}, {b"f": G}, "it adds f, but f is already there"),
        ({}, {b"f": F}, {b"f": F}, "it adds f, but f is already there"),
        ({}, {b"d": F}, {b"d/x": F}, "it adds d, but d is already there"),
        ({}, {b"f/x/y": F}, {b"f": F}, "it adds f/x/y, but f is already there"),
        ({b"f": F}, {}, {b"f": G}, "f is blob"),
        ({b"f": F}, {}, {}, "f is not in the tree"),
        ({b"f": F}, {b"f": G}, {}, "f is not in the tree"),
        ({b"f": F}, {b"f": G}, {b"f": ("100755", F[1])}, "f has mode 100755 in the tree, the patch was made from 100644"),
        ({b"f": F}, {b"f": ("100755", F[1])}, {b"f": ("100755", F[1])}, "f has mode 100755"),
        ({b"f": F}, {b"f": ("120000", b"t")}, {b"f": G}, "f is blob"),
        ({b"f": ("100644", bytes(range(256)))}, {b"f": ("100644", bytes(range(255)))}, {b"f": ("100644", b"\0x")}, "f is blob"),
        ({b"caf\xe9": F}, {b"caf\xe9": G}, {b"caf\xe9": ("100644", b"x")}, r"caf\\xe9 is blob"),
    ],
)
def test_a_path_that_is_not_what_the_patch_says(repository: Path, before: Tree, after: Tree, pin: Tree, why: str) -> None:
    other = {b"untouched": text("x")}
    base, tip, here = commit(repository, {**before, **other}, {**after, **other}, {**pin, **other})
    with pytest.raises(Mismatch, match=why) as caught:
        materialise(Git(repository), here, [patch(repository, base, tip)])
    assert caught.value.made == () and caught.value.patch.name == "p" and caught.value.code == 7


def test_a_patch_that_changes_one_path_twice(repository: Path) -> None:
    base, tip = commit(repository, {b"f": text("one", "two")}, {b"f": text("one", "TWO")})
    once = patch(repository, base, tip)
    twice = mail.read("p", once.data + once.diff.replace(b"+TWO", b"+2"))
    with pytest.raises(Mismatch, match="it changes f twice"):
        materialise(Git(repository), base, [twice], trust_index=False)


def test_a_short_index_line_is_enough_where_it_is_true(repository: Path) -> None:
    base, tip = commit(repository, {b"f": F}, {b"f": G})
    told = run(repository, "diff-tree", "-p", "--abbrev=8", base, tip)
    assert b"index " in told and len(told.split(b"index ")[1].split(b"\n")[0]) < 30
    short = mail.read("p", HEAD % b"p" + told)
    assert materialise(Git(repository), base, [short])[0].tree == tree(repository, tip)
    with pytest.raises(Mismatch, match="f is blob"):
        materialise(Git(repository), tip, [short])


# -- submodules -------------------------------------------------------------------------------------------------


def with_module(repository: Path, pointer: str | None, more: bytes) -> str:
    """A commit that holds a submodule entry beside a file."""
    blob = run(repository, "hash-object", "-w", "--stdin", stdin=more).decode().strip()
    entries = f"100644 blob {blob}\tf\n" + (f"160000 commit {pointer}\tmodule\n" if pointer else "")
    made = run(repository, "mktree", "--missing", stdin=entries.encode()).decode().strip()
    return run(repository, "commit-tree", made, "-m", "x").decode().strip()


@pytest.mark.parametrize(("old", "new"), [("1" * 40, "2" * 40), (None, "2" * 40), ("1" * 40, None), ("1" * 40, "1" * 40)])
def test_submodules_are_moved_added_and_removed(repository: Path, old: str | None, new: str | None) -> None:
    base, tip = with_module(repository, old, b"1\n"), with_module(repository, new, b"2\n")
    made = materialise(Git(repository), base, [patch(repository, base, tip)])
    assert made[0].tree == tree(repository, tip)
    other = with_module(repository, "3" * 40, b"1\n")
    if old != new:
        with pytest.raises(Mismatch, match="module"):
            materialise(Git(repository), other, [patch(repository, base, tip)])


def test_a_submodule_whose_commits_are_in_this_repository(repository: Path) -> None:
    """cat-file answers with commits there, which are no file's content: nothing is merged."""
    inner = commit(repository, {b"x": F}, {b"x": G}, {b"y": F})
    base, tip, pin = (with_module(repository, each, b"1\n") for each in inner)
    change = patch(repository, base, tip)
    assert materialise(Git(repository), base, [change], merge_file(Git(repository)))[0].tree == tree(repository, tip)
    with pytest.raises(Mismatch, match="module is blob"):
        materialise(Git(repository), pin, [change], merge_file(Git(repository)))
    found = MutableTree.read(Git(repository), base)
    found.prefetch({inner[0], found.entries[b"f"][1], "9" * 40})
    assert found.content(inner[0]) is None and found.content(found.entries[b"f"][1]) == b"1\n"
