"""Patches with a few of their bytes or lines changed: never another tree than git makes of them with exit code 0, never a traceback.

Full budget 20,000; ``TUNEFORK_EXAMPLES=5000`` draws a million. What we refuse needs no oracle. What we take and git refuses is counted only.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import oracles
import pytest
from budgets import examples
from kinds import BASE, GIT, KINDS, QUILT

from tunefork.base.errors import BadInput
from tunefork.patchset.author import foreign, placing
from tunefork.patchset.git import Git
from tunefork.patchset.series.diff import HunkMismatch, blob_id
from tunefork.patchset.series.materialise import ABSENT, Tree

SEEDS = [next(iter(kind.files.values())) for kind in KINDS if kind.expect == "tree" and kind.tools == (GIT,)]
QUILTED = [kind.files["x.diff"] for kind in KINDS if kind.expect == "tree" and kind.tools == (QUILT,) and kind.files.get("series") == b"x.diff\n"]
QUILTED += [seed.partition(b"\n---\n")[2].replace(b"-- \n2.39\n", b"") for seed in SEEDS if b"GIT binary" not in seed]
PIECES = [b"\n", b"+", b"-", b" ", b"@@ -3,4 +3,4 @@\n", b"--- a/f\n", b"+++ b/f\n", b"diff --git a/f b/f\n", b"index 1..2 100755\n", b"new mode 100755\n",
          b"deleted file mode 100644\n", b"new file mode 100644\n", b"\\ No newline at end of file\n", b"\r", b"rename from f\n", b"rename to z\n", b"---\n", b"-- \n",
          b"Binary files a/f and b/f differ\n", b" line 20\n", b"/dev/null", b"a/", b"0", b"7", b"\t", b"\xff", b'"'] # fmt: skip

# Where git mailinfo ends the message (builtin/mailinfo's rule for a patch's beginning).
PATCH_BREAK = re.compile(rb"^(diff -|Index: |--- \S|---[ \t]*$)", re.MULTILINE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return oracles.base(tmp_path_factory.mktemp("mutations"), BASE)


def mutated(draw: random.Random, seeds: list[bytes] = SEEDS) -> bytes:
    """A patch of kinds.py, or the diff of one behind another's, changed at one to three places."""
    data = draw.choice(seeds)
    if draw.random() < 0.2:
        other = draw.choice(seeds)
        data = data.replace(b"-- \n2.39\n", b"") + (other.partition(b"\n---\n")[2] or other)
    head = data.find(b"\n---\n") + 1
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        lines = data.split(b"\n")
        first = data[:head].count(b"\n")
        at = draw.randrange(first, len(lines))
        match draw.randrange(8):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                other = draw.randrange(first, len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines.insert(at, draw.choice(PIECES).rstrip(b"\n"))
            case 4 if lines[at]:
                place = draw.randrange(len(lines[at]))
                lines[at] = lines[at][:place] + lines[at][place + 1 :]
            case 5:
                place = draw.randint(0, len(lines[at]))
                lines[at] = lines[at][:place] + draw.choice(PIECES) + lines[at][place:]
            case 6:  # another number
                lines[at] = b"".join(bytes([draw.choice(b"0123456789")]) if 48 <= byte <= 57 and draw.random() < 0.3 else bytes([byte]) for byte in lines[at])
            case 7:
                lines = lines[:at] + lines[at + draw.randint(1, 3) :]
        data = b"\n".join(lines)
    return data


def ours(tree: Tree, data: bytes, *, quilt: bool = False) -> dict[bytes, tuple[str, str]] | None:
    """The entries that a mail, or an entry of a quilt series, makes of a tree; None where it is refused."""
    fresh = Tree(tree.git, dict(tree.entries), tree.contents)
    try:
        patch = foreign.quilted(foreign.Entry("m.diff"), data) if quilt else foreign.read("m", "m.patch", data)
        if not patch.changes and not foreign.is_description(data):
            return None
        touches = placing.apply(fresh, patch.file, patch.changes, patch.notes, quilt=quilt)
    except (BadInput, HunkMismatch):
        return None
    return {each.path: (each.new_mode, each.new_blob) for each in touches}


def gits(repository: Path, base: str, data: bytes, index: Path) -> dict[bytes, tuple[str, str]] | None:
    """The same by ``git apply --cached``, as git am runs it."""
    environment = {"GIT_INDEX_FILE": str(index)}
    index.unlink(missing_ok=True)
    index.with_name(index.name + ".lock").unlink(missing_ok=True)  # a git that crashed leaves it, and every later one would refuse
    shutil.copy(repository / ".git" / "index", index)
    cut = PATCH_BREAK.search(data)
    diff = data[cut.start() :] if cut else b""
    if oracles.call(["git", "apply", "--cached", "--whitespace=nowarn"], repository, env=environment, stdin=diff)[0]:
        return None
    raw = oracles.must(["git", "-c", "core.quotePath=true", "diff-index", "--cached", "--raw", "--no-abbrev", "--no-renames", base], repository, env=environment)
    found = {}
    for line in raw.splitlines():
        meta, path = line.split("\t", 1)
        words = meta.split(" ")
        found[path.encode()] = (words[1], words[3]) if words[1] != "000000" else ABSENT
    return found


def plain(entries: dict[bytes, tuple[str, str]]) -> dict[bytes, tuple[str, str]]:
    """Paths as git prints them."""
    from tunefork.patchset.series.diff import unquote

    return {unquote(path): entry for path, entry in entries.items()}


def test_no_mutation_makes_another_tree(base: tuple[Path, str], tmp_path: Path) -> None:
    repository, commit = base
    tree = Tree.read(Git(repository), commit)
    tree.prefetch({blob for _, blob in tree.entries.values()})
    draw, seen, wrong = random.Random(16), Counter[str](), []
    for _ in range(examples(20_000)):
        data = mutated(draw)
        mine = ours(tree, data)
        if mine is None:
            seen["refused"] += 1
            continue
        theirs = gits(repository, commit, data, tmp_path / "index")
        if theirs is None:
            seen["taken by us alone"] += 1
        elif plain(theirs) == mine:
            seen["same tree"] += 1
        else:
            wrong.append((data, mine, theirs))
    print(dict(seen), len(wrong))
    assert not wrong, "".join(f"\n{data.decode('utf-8', 'replace')}\nours {mine}\ngit {theirs}" for data, mine, theirs in wrong[:3])
    assert seen["same tree"] > seen.total() // 10  # the mutations are mild enough to say something


def patches(data: bytes, place: Path) -> dict[bytes, tuple[str, str]] | None:
    """The same by ``patch``, as quilt runs it without fuzz."""
    shutil.rmtree(place, ignore_errors=True)
    for name, (mode, content) in BASE.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    words = ["patch", "-F0", "-p1", "--backup", f"--prefix={place}.pc/", "-f", "--quiet", "--reject-file=-", "--no-backup-if-mismatch"]
    if oracles.call(words, place, stdin=data)[0]:
        return None
    after = {}
    for path in place.rglob("*"):
        if path.is_symlink():
            after[os.fsencode(path.relative_to(place))] = "120000", blob_id(os.fsencode(os.readlink(path)))
        elif path.is_file():
            after[os.fsencode(path.relative_to(place))] = "100755" if path.stat().st_mode & 0o100 else "100644", blob_id(path.read_bytes())
    before = {name.encode(): ("100755" if mode & 0o100 else "100644", blob_id(content)) for name, (mode, content) in BASE.items()}
    return {path: after.get(path, ABSENT) for path in {*before, *after} if after.get(path) != before.get(path)}


def test_no_mutation_makes_another_tree_than_patch(base: tuple[Path, str], tmp_path: Path) -> None:
    """The same of a quilt series' entry, which is read in another manner. Full budget 10,000."""
    if shutil.which("patch") is None:
        pytest.skip("NOT TESTED: patch is not installed (apt install patch)")
    repository, commit = base
    tree = Tree.read(Git(repository), commit)
    tree.prefetch({blob for _, blob in tree.entries.values()})
    draw, seen, wrong = random.Random(18), Counter[str](), []
    for _ in range(examples(10_000)):
        data = mutated(draw, QUILTED)
        mine = ours(tree, data, quilt=True)
        theirs = None if mine is None else patches(data, tmp_path / "tree")
        seen["refused" if mine is None else "taken by us alone" if theirs is None else "same tree" if theirs == mine else "WRONG"] += 1
        if mine is not None and theirs not in (None, mine):
            wrong.append((data, mine, theirs))
    print(dict(seen))
    assert not wrong, "".join(f"\n{data.decode('utf-8', 'replace')}\nours  {mine}\npatch {theirs}" for data, mine, theirs in wrong[:5])
    assert seen["same tree"] > seen.total() // 10
