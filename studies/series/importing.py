"""The import beside ``git am``: ``python -m studies.series.importing REPOSITORY BASE TIP [--rounds N] [--json]``.

REPOSITORY's commits BASE..TIP become mail by ``git format-patch``. Then, in turn and several times over: the library part of `patch import` (reading
the folder, placing every hunk, writing the commits), and ``git am`` on a checkout at BASE that was made before. Both must end at one tree.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from studies.series.speed import clock
from tunefork.patchset.author import foreign, importing
from tunefork.patchset.git import Git

ROUNDS = 5


def import_once(git: Git, base: str, folder: Path) -> str:
    """The tree that the import makes."""
    found, _ = foreign.read_folder(folder)
    return importing.onto(git, base, found, [each.name for each in found])[-1].tree


def measure(repository: Path, base: str, tip: str, scratch: Path, rounds: int = ROUNDS) -> tuple[int, list[tuple[float, float]]]:
    """(patches, the seconds of ours and of git am in each round)."""
    clone, folder = scratch / "clone", scratch / "patches"
    outside = Git(scratch)
    outside("clone", "--quiet", "--shared", "--no-checkout", str(repository.resolve()), str(clone))
    git = Git(clone)
    commit = git.text("rev-parse", f"{base}^{{commit}}")
    git("format-patch", "--quiet", "--binary", "-o", str(folder), f"{commit}..{tip}")
    git("checkout", "--quiet", "--detach", commit)
    mails = sorted(str(path) for path in folder.iterdir())
    found = []
    for _ in range(rounds):
        made: list[str] = []
        ours = clock(lambda made=made: made.append(import_once(git, commit, folder)))  # type: ignore[misc]
        theirs = clock(lambda: git("am", "--quiet", "--keep-cr", "--keep-non-patch", "--no-scissors", *mails))
        assert git.text("rev-parse", "HEAD^{tree}") == made[0], "the two trees differ"
        git("reset", "--quiet", "--hard", commit)
        found.append((ours, theirs))
    return len(mails), found


def main(argv: list[str]) -> int:
    words = [word for word in argv if not word.startswith("--")]
    rounds = int(words.pop()) if "--rounds" in argv else ROUNDS
    with tempfile.TemporaryDirectory(prefix="tunefork-importing-", dir=os.environ.get("TMPDIR")) as scratch:
        count, found = measure(Path(words[0]), words[1], words[2], Path(scratch), rounds)
    ratios = [ours / theirs for ours, theirs in found]
    if "--json" in argv:
        print(json.dumps({"patches": count, "seconds": found, "ratio": statistics.median(ratios)}))
        return 0
    ours, theirs = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"{count} patches, {rounds} rounds: import {ours:.2f} s, git am {theirs:.2f} s; "
          f"import / git am {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
