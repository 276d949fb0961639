"""What patch managers make of hard cases: ``python -m studies.series.behaviour [--json]``, a table of right / wrong / refused.

Real git, real tools. Each case is an upstream with two versions and a series made on the first; every tool brings the series to the second. Right
is the tree that a careful person would make; wrong is another one, left without a word; refused is a stop that asks a person.

    squashed   upstream merged the patch in a larger commit that edits lines around it too     -> upstream's: the patch is dropped
    moved      the same, and then renamed its file                                              -> the same
    renamed    upstream renamed the file that the patch changes                                -> applied to the renamed file
    reverted   upstream merged the patch as it is, and reverted it                             -> applied again
    reworded   upstream changed the patch's line to the same effect, in other words            -> a person is asked
    rewritten  upstream rewrote the patched line; a twin of the old code stands above          -> a person is asked
    together   moved, renamed and reverted in one series                                       -> all of that

git am -3, git rebase, quilt, stg and gbp pq come from Debian; one that is not installed is left out and named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tunefork.base.errors import TuneforkError
from tunefork.base.layout import Layout
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.rebase import rebase

WHO = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@localhost",
       "GIT_COMMITTER_NAME": "T", "GIT_COMMITTER_EMAIL": "t@localhost", "GIT_EDITOR": "true", "EDITOR": "true", "DEBEMAIL": "t@localhost",
       "DEBFULLNAME": "T", "QUILT_PATCHES": "debian/patches", "QUILTRC": "-"}  # fmt: skip
RIGHT, WRONG, REFUSED = "right", "wrong", "refused"
Files = dict[str, str | None]  # None: not there


def body(name: str, result: str = "total") -> str:
    """A function; all of them have the same lines around the last one."""
    return f"def {name}(x):\n    total = 0\n    for item in x:\n        total += item\n    return {result}\n\n\n# ---\n"


PADDING = "".join(f"# line {number}\n" for number in range(40))
BASE: Files = {
    "squash.py": PADDING + body("scale") + PADDING.replace("line", "between") + body("shift") + PADDING.replace("line", "below"),
    "old_name.py": PADDING + body("norm") + PADDING.replace("line", "below"),
    "revert.py": PADDING + body("clip") + PADDING.replace("line", "below"),
    "twin.py": PADDING + body("first") + body("second") + PADDING.replace("line", "below"),
}


@dataclass(frozen=True)
class Hard:
    """One case. patches: what each commit of ours writes.  upstream: the second version, commit by commit.

    right: what must differ from the first version in the end; None where asking a person is right.
    """

    name: str
    patches: tuple[tuple[str, Files], ...]
    upstream: tuple[tuple[str, Files], ...]
    right: Files | None


def edited(name: str, *pairs: tuple[str, str]) -> str:
    """A base file with text replaced, each piece once."""
    text = BASE[name] or ""
    for old, new in pairs:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    return text


def squashed() -> Hard:
    """The larger commit also edits a line that the patch quotes as context."""
    ours = edited("squash.py", (body("scale"), body("scale", "total * 2")))
    theirs = edited("squash.py", (body("scale"), body("scale", "total * 2").replace("total = 0", "total = 0.0")), (body("shift"), body("shift", "total + 1")))
    return Hard("squashed", (("Scale by two", {"squash.py": ours}),), (("Rework scale and shift (#12)", {"squash.py": theirs}),), {"squash.py": theirs})


def reworded() -> Hard:
    """Upstream took the idea in other words: whether that is the patch, a person has to say."""
    ours = edited("squash.py", (body("scale"), body("scale", "total * 2")))
    theirs = edited("squash.py", (body("scale"), body("scale", "2 * total")))
    return Hard("reworded", (("Scale by two", {"squash.py": ours}),), (("Scale (#12)", {"squash.py": theirs}),), None)


def moved() -> Hard:
    case = squashed()
    text = (case.right or {})["squash.py"]
    then = ("Move to the new package", {"squash.py": None, "moved.py": text})
    return Hard("moved", case.patches, (*case.upstream, then), {"squash.py": None, "moved.py": text})


def renamed() -> Hard:
    ours = edited("old_name.py", (body("norm"), body("norm", "total / len(x)")))
    return Hard("renamed", (("Divide by the length", {"old_name.py": ours}),),
                (("Rename", {"old_name.py": None, "new_name.py": BASE["old_name.py"]}),), {"old_name.py": None, "new_name.py": ours})  # fmt: skip


def reverted() -> Hard:
    ours = edited("revert.py", (body("clip"), body("clip", "min(total, 7)")))
    return Hard("reverted", (("Clip at seven", {"revert.py": ours}),),
                (("Clip at seven", {"revert.py": ours}), ('Revert "Clip at seven"', {"revert.py": BASE["revert.py"]})), {"revert.py": ours})  # fmt: skip


def rewritten() -> Hard:
    """The patch's own place is gone; by its context alone it fits the twin above."""
    ours = edited("twin.py", (body("second"), body("second", "total - 1")))
    theirs = edited("twin.py", (body("second"), body("second", "sum(x) * 3")))
    return Hard("rewritten", (("Subtract one", {"twin.py": ours}),), (("Rewrite second", {"twin.py": theirs}),), None)


def together() -> Hard:
    parts = (moved(), renamed(), reverted())
    right = {name: text for part in parts for name, text in (part.right or {}).items()}
    return Hard("together", tuple(each for part in parts for each in part.patches), tuple(each for part in parts for each in part.upstream), right)


CASES = (squashed, moved, renamed, reverted, reworded, rewritten, together)


@dataclass(frozen=True)
class Result:
    """What one tool made of one case. verdict: "right", "wrong" or "refused" ("right" too, where asking is right).  said: its last line."""

    case: str
    tool: str
    verdict: str
    said: str


class Stopped(Exception):
    """The tool asks a person."""


def sh(where: Path, *words: str) -> None:
    done = subprocess.run(words, cwd=where, env={**os.environ, **WHO}, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip() and not line.startswith("hint:")]
        raise Stopped(lines[-1] if lines else f"exit {done.returncode}")


def write(where: Path, files: Files) -> None:
    for name, text in files.items():
        if text is None:
            (where / name).unlink()
        else:
            (where / name).write_text(text)


def commit(where: Path, subject: str, files: Files) -> None:
    write(where, files)
    sh(where, "git", "add", "--all")
    sh(where, "git", "commit", "--quiet", "-m", f"{subject}\n\nWhy.\n\nSigned-off-by: T <t@localhost>")


def build(where: Path, case: Hard) -> Path:
    """A repository with the tags v1 and v2, our commits on ``ours``, and their patch files with a series beside it. Returns the patches' folder."""
    where.mkdir(parents=True)
    sh(where, "git", "init", "--quiet", "--initial-branch=v2-line")
    commit(where, "Base", BASE)
    sh(where, "git", "tag", "v1")
    for subject, files in case.upstream:
        commit(where, subject, files)
    sh(where, "git", "tag", "v2")
    sh(where, "git", "checkout", "--quiet", "-b", "ours", "v1")
    for subject, files in case.patches:
        commit(where, subject, files)
    patches = where.with_name("patches")
    sh(where, "git", "format-patch", "--quiet", "--full-index", "-o", str(patches), "v1")
    names = sorted(path.name for path in patches.glob("*.patch"))
    (patches / "series").write_text("".join(f"{name}\n" for name in names))
    return patches


def git_am(repository: Path, patches: Path, case: Hard) -> Path:
    sh(repository, "git", "checkout", "--quiet", "-b", "result", "v2")
    sh(repository, "git", "am", "--quiet", "-3", *map(str, sorted(patches.glob("*.patch"))))
    return repository


def git_rebase(repository: Path, patches: Path, case: Hard) -> Path:
    sh(repository, "git", "rebase", "--quiet", "--merge", "--onto", "v2", "v1", "ours")
    return repository


def quilt(repository: Path, patches: Path, case: Hard) -> Path:
    sh(repository, "git", "checkout", "--quiet", "v2")
    shutil.copytree(patches, repository / "debian" / "patches")
    sh(repository, "quilt", "push", "-a")
    return repository


def stg(repository: Path, patches: Path, case: Hard) -> Path:
    sh(repository, "git", "checkout", "--quiet", "-b", "result", "v1")
    sh(repository, "stg", "init")
    sh(repository, "stg", "import", "--series", str(patches / "series"))
    sh(repository, "stg", "rebase", "--merged", "v2")
    return repository


def gbp_pq(repository: Path, patches: Path, case: Hard) -> Path:
    sh(repository, "git", "checkout", "--quiet", "-b", "packaging", "v1")
    shutil.copytree(patches, repository / "debian" / "patches")
    (repository / "debian" / "changelog").write_text("x (1-1) unstable; urgency=low\n\n  * x\n\n -- T <t@localhost>  Sat, 01 Jan 2000 00:00:00 +0000\n")
    (repository / "debian" / "control").write_text("Source: x\nMaintainer: T <t@localhost>\n\nPackage: x\nArchitecture: all\nDescription: x\n")
    sh(repository, "git", "add", "debian")
    sh(repository, "git", "commit", "--quiet", "-m", "Packaging")
    sh(repository, "gbp", "pq", "import")
    sh(repository, "git", "checkout", "--quiet", "packaging")
    sh(repository, "git", "merge", "--quiet", "--no-edit", "v2")
    sh(repository, "gbp", "pq", "rebase")
    return repository


def tunefork(repository: Path, patches: Path, case: Hard) -> Path:
    home = Layout(repository.with_name("root"), repository.with_name("cache"))
    home.series_dir("up").mkdir(parents=True)
    (home.series_dir("up") / "series").write_text("")
    base = subprocess.run(["git", "rev-parse", "v1"], cwd=repository, capture_output=True, text=True, check=True).stdout.strip()
    home.pins.write_text(f'[upstreams.up]\nurl = "file://{repository}"\ntag = "v1"\ncommit = "{base}"\nversion = "1"\nsubmodules = false\n')
    apply(home, "up")
    for subject, files in case.patches:
        commit(home.checkout("up"), subject, files)
    export(home, "up")
    try:
        rebase.start(home, "up", "v2")
    except TuneforkError as error:
        raise Stopped(error.message) from None
    return home.checkout("up")


Tool = Callable[[Path, Path, Hard], Path]
TOOLS: dict[str, tuple[str, Tool]] = {  # name -> (program, how it brings the series to v2)
    "tunefork rebase": ("git", tunefork), "git am -3": ("git", git_am), "git rebase": ("git", git_rebase),
    "quilt push": ("quilt", quilt), "stg rebase": ("stg", stg), "gbp pq rebase": ("gbp", gbp_pq),
}  # fmt: skip


def tried(case: Hard, tool: str) -> Result:
    """Bring one case's series to the second version with one tool."""
    with tempfile.TemporaryDirectory(prefix="tunefork-behaviour-") as folder:
        repository = Path(folder) / "repository"
        patches = build(repository, case)
        try:
            tree = TOOLS[tool][1](repository, patches, case)
        except Stopped as stopped:
            return Result(case.name, tool, RIGHT if case.right is None else REFUSED, str(stopped))
        wanted = {**BASE, **(case.right or {})}
        if case.right is None:
            return Result(case.name, tool, WRONG, "went on without a word")
        odd = [name for name, text in wanted.items() if ((tree / name).read_text() if (tree / name).is_file() else None) != text]
        return Result(case.name, tool, WRONG if odd else RIGHT, f"went on without a word; not right: {', '.join(odd)}" if odd else "")


def compare(cases: Sequence[Callable[[], Hard]] = CASES, tools: Iterable[str] = tuple(TOOLS)) -> list[Result]:
    """Every case with every one of the tools that is installed."""
    return [tried(case(), tool) for case in cases for tool in tools if shutil.which(TOOLS[tool][0])]


def table(results: Sequence[Result]) -> str:
    """A Markdown table, cases down and tools across."""
    tools = list(dict.fromkeys(each.tool for each in results))
    lines = ["| case | " + " | ".join(tools) + " |", "|---" * (len(tools) + 1) + "|"]
    for case in dict.fromkeys(each.case for each in results):
        row = {each.tool: each.verdict for each in results if each.case == case}
        lines.append(f"| {case} | " + " | ".join(row[tool] for tool in tools) + " |")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Print the table, or JSON."""
    for tool, (program, _) in TOOLS.items():
        if not shutil.which(program):
            print(f"LEFT OUT: {tool}: {program} is not installed (Debian: quilt, stgit, git-buildpackage)", file=sys.stderr)
    results = compare()
    print(json.dumps([asdict(each) for each in results], indent=1) if "--json" in argv else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
