"""Compare import with the tools on folders of patches that are not ours: prints right, refused, WRONG, taken by us alone or refused by both.

By hand, never in CI; nothing it fetches is kept:
    python3 tests/patchset/corpus/compare.py --history REPOSITORY BASE TIP     # beside git am, with the times of both
    python3 tests/patchset/corpus/compare.py --folder BASE_FOLDER PATCHES      # a tree of files, and mail or a quilt series
    python3 tests/patchset/corpus/compare.py --debian [NAME...]                # source packages by apt, those of debian.txt by default
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parent), str(HERE)]

import oracles  # noqa: E402 - needs the path above


def history(repository: Path, base: str, tip: str, scratch: Path) -> str:
    """One linear stretch of a repository's history."""
    clone, patches = scratch / "clone", scratch / "patches"
    oracles.must(["git", "clone", "--quiet", "--shared", "--no-checkout", str(repository.resolve()), str(clone)], scratch)
    commit = oracles.must(["git", "rev-parse", f"{base}^{{commit}}"], repository)
    oracles.must(["git", "format-patch", "--quiet", "--binary", "-o", str(patches), f"{base}..{tip}"], repository)
    begin = time.perf_counter()
    mine = oracles.ours(clone, commit, patches)
    middle = time.perf_counter()
    theirs = oracles.git_am(clone, commit, patches)
    took = middle - begin, time.perf_counter() - middle
    found = oracles.verdict(mine, theirs)
    return f"{found}: {len(list(patches.iterdir()))} patches; ours {took[0]:.2f} s, git am with its checkout {took[1]:.2f} s; {mine.said[:200]}"


def folder(base: Path, patches: Path, scratch: Path) -> str:
    """A folder of files, and patches for it."""
    commit = oracles.repository(scratch / "repository", base)
    mine = oracles.ours(scratch / "repository", commit, patches)
    tool = oracles.quilt if (patches / "series").is_file() else oracles.git_am
    theirs = tool(scratch / "repository", commit, patches)
    return f"{oracles.verdict(mine, theirs)}: {mine.said[:160] if mine.tree is None else ''}"


def debian(name: str, scratch: Path) -> str:
    """A source package: upstream's files, and debian/patches; the oracle is dpkg-source's own extraction."""
    code, said = oracles.call(["apt-get", "source", "--download-only", "--quiet", name], scratch)
    found = list(scratch.glob("*.dsc"))
    if code or not found:
        return f"not fetched: {said.splitlines()[-1] if said else code}"
    trees = scratch / "bare", scratch / "patched"
    for tree, option in zip(trees, (["--skip-patches"], []), strict=True):
        code, said = oracles.call(["dpkg-source", "--no-check", *option, "-x", str(found[0]), str(tree)], scratch)
        if code:
            return f"dpkg-source: {said.splitlines()[-1]}"
    if not (trees[0] / "debian" / "patches" / "series").is_file():
        return "no quilt series"
    patches = scratch / "patches"
    shutil.copytree(trees[0] / "debian" / "patches", patches)
    shutil.rmtree(trees[1] / ".pc", ignore_errors=True)
    commit = oracles.repository(scratch / "repository", trees[0])
    oracles.must(["git", f"--work-tree={trees[1]}", "add", "--all", "--force"], scratch / "repository")
    theirs = oracles.Outcome(oracles.must(["git", "write-tree"], scratch / "repository"))
    mine = oracles.ours(scratch / "repository", commit, patches)
    return f"{oracles.verdict(mine, theirs)}: {mine.said[:160] if mine.tree is None else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--history", nargs=3, metavar=("REPOSITORY", "BASE", "TIP"))
    kind.add_argument("--folder", nargs=2, metavar=("BASE", "PATCHES"), type=Path)
    kind.add_argument("--debian", nargs="*", metavar="NAME")
    args = parser.parse_args()
    seen: Counter[str] = Counter()
    for name in (args.debian or (HERE / "debian.txt").read_text().split()) if args.debian is not None else [""]:
        with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
            place = Path(scratch)
            if args.history:
                said = history(Path(args.history[0]), *args.history[1:], place)
            else:
                said = folder(args.folder[0], args.folder[1].resolve(), place) if args.folder else debian(name, place)
        seen[said.partition(":")[0]] += 1
        print(f"{name} {said}".strip(), flush=True)
    print(dict(seen))
    return 1 if seen[oracles.WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
