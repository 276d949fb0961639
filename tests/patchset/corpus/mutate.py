"""Mutations without end, over many processes: ``python mutate.py --jobs 32 --minutes 30 --seed 7 --out FOLDER``.

Of each hundred: 55 mails beside ``git apply``, 35 entries of a quilt series beside ``patch -F0``, 10 mails with other words beside ``git am``.
FOLDER/counts.json: what was drawn and found, by kind. FOLDER/faults: every patch that we take to another tree or other words than the tool without a note,
that ends in a traceback, or whose bytes do not come to its length; beside it what each made of it. Exit code 1 where there are any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE)]

import mutations  # noqa: E402 - needs the path above
from judges import Commit, Entries, Judges  # noqa: E402
from kinds import BASE  # noqa: E402

from tunefork.base.errors import BadInput  # noqa: E402
from tunefork.patchset.author import foreign, ledger, placing  # noqa: E402
from tunefork.patchset.git import Git  # noqa: E402
from tunefork.patchset.series.diff import HunkMismatch, unquote  # noqa: E402
from tunefork.patchset.series.materialise import ABSENT, Tree  # noqa: E402

BATCH = 1000
KINDS_DRAWN = ("mail", "quilt", "words")
SLOW = 5.0  # seconds of our own processor time that no patch of this size may take
REFUSED, ALONE, SAME, NOTED, FAULT = "refused", "taken by us alone", "the same", "other words, noted", "FAULT"
# Where git mailinfo ends the message (builtin/mailinfo's rule for a patch's beginning).
PATCH_BREAK = re.compile(rb"^(diff -|Index: |--- \S|---[ \t]*$)", re.MULTILINE)


class Held(Tree):
    """A tree whose repository has nothing but its own blobs."""

    def content(self, blob: str) -> bytes | None:
        return self.contents.get(blob)


@dataclass
class Taken:
    """What we make of a patch file: entries that change, commits, and notes on what is lost."""

    entries: Entries
    commits: list[Commit]
    notes: list[str]


class Trial:
    """One base, our reader, and the judges."""

    def __init__(self, folder: Path) -> None:
        self.judges = Judges(folder)
        self.git = Git(folder / "tree")
        self.contents = {self.judges.before[name.encode()][1]: data for name, (_, data) in BASE.items()}

    def ours(self, data: bytes, *, quilt: bool = False) -> Taken | None:
        """None where it is refused, for a reason; Unaccounted and what is no refusal come through."""
        tree = Held(self.git, dict(self.judges.before), dict(self.contents))
        try:
            patches = [foreign.quilted(foreign.Entry("m.diff"), data)] if quilt else foreign.mails("m.patch", data)
            if not any(each.changes for each in patches):
                if not foreign.is_description(data):
                    return None
                return Taken({}, [], [])
            for each in patches:
                if each.changes:
                    placing.apply(tree, each.file, each.changes, each.notes, quilt=quilt)
        except ledger.Unaccounted:
            raise
        except (BadInput, HunkMismatch):
            return None
        entries = {path: tree.entries.get(path, ABSENT) for path in {*tree.entries, *self.judges.before} if tree.entries.get(path) != self.judges.before.get(path)}
        return Taken(entries, [Commit(each.author, each.date, each.message) for each in patches], [note for each in patches for note in each.notes])

    def mail(self, data: bytes) -> tuple[str, str]:
        """(verdict, what differs) of a mail beside git apply, which gets what mailinfo cuts off it."""
        mine = self.ours(data)
        if mine is None:
            return REFUSED, ""
        cut = PATCH_BREAK.search(data)
        theirs = self.judges.git_apply(data[cut.start() :] if cut else b"")
        return compared({unquote(path): entry for path, entry in mine.entries.items()}, theirs)

    def quilt(self, data: bytes) -> tuple[str, str]:
        mine = self.ours(data, quilt=True)
        return (REFUSED, "") if mine is None else compared(mine.entries, self.judges.patch(data))

    def words(self, data: bytes) -> tuple[str, str]:
        """The same of a mail beside git am, with author, date and message."""
        mine = self.ours(data)
        if mine is None:
            return REFUSED, ""
        theirs = self.judges.git_am(data)
        verdict, what = compared(mine.entries, theirs[0] if theirs else None)
        if verdict != SAME or theirs is None:
            return verdict, what
        if [flat(each) for each in mine.commits] == [flat(each) for each in theirs[1]]:
            return SAME, ""
        said = f"ours   {mine.commits}\ntheirs {theirs[1]}\nnotes  {mine.notes}"
        return NOTED if len(mine.commits) == len(theirs[1]) and all(map(partial(noted, mine.notes), mine.commits, theirs[1])) else FAULT, said

    def one(self, kind: str, data: bytes) -> tuple[str, str]:
        begin = time.process_time()
        try:
            verdict, what = getattr(self, kind)(data)
        except Exception:  # a traceback of any kind is what is looked for
            return FAULT, traceback.format_exc()
        took = time.process_time() - begin
        return (FAULT, f"{took:.1f} s") if took > SLOW else (verdict, what)


def compared(mine: Entries, theirs: Entries | None) -> tuple[str, str]:
    return (ALONE, "") if theirs is None else (SAME, "") if mine == theirs else (FAULT, f"ours   {mine}\ntheirs {theirs}")


def noted(notes: list[str], mine: Commit, theirs: Commit) -> bool:
    """Whether something is said of each field that differs."""
    kinds = {which(note) for note in notes}
    return ((who(mine) == who(theirs) or bool(kinds & {"author", "any"})) and (mine.date == theirs.date or bool(kinds & {"date", "any"}))
            and (mine.message.split() == theirs.message.split() or not theirs.message.strip() or bool(kinds & {"message", "any"})))  # fmt: skip


def which(note: str) -> str:
    if "date" in note:
        return "date"
    return "any" if "in the message" in note or "header" in note else "author" if "author" in note else "message"


def flat(commit: Commit) -> tuple[bytes, bytes, list[bytes]]:
    """A commit's words; git am folds and unfolds blanks in another manner than export could give back."""
    return who(commit), commit.date, commit.message.split()


def who(commit: Commit) -> bytes:
    """Its author without the stops around the name, which git 2.39 takes off and git 2.47 keeps."""
    name, _, address = commit.author.rpartition(b" <")
    return name.strip(b" .") + b" <" + address


def drawn(draw: random.Random, shares: list[int]) -> tuple[str, bytes]:
    kind = draw.choices(KINDS_DRAWN, shares)[0]
    return kind, mutations.reworded(draw) if kind == "words" else mutations.mutated(draw, mutations.SEEDS if kind == "mail" else mutations.QUILTED)


def batch(trial: Trial, seed: str, count: int, shares: list[int]) -> tuple[Counter[str], dict[str, tuple[str, bytes, str]], set[bytes]]:
    """(counts, faults, digests of what was drawn)."""
    draw, seen, faults, digests = random.Random(seed), Counter[str](), {}, set()
    for _ in range(count):
        kind, data = drawn(draw, shares)
        digest = hashlib.blake2b(data, digest_size=8)
        digests.add(digest.digest())
        verdict, what = trial.one(kind, data)
        seen[f"{kind}: {verdict}"] += 1
        if verdict == FAULT:
            faults[f"{kind}-{digest.hexdigest()}"] = kind, data, what
    return seen, faults, digests


def job(number: int, seed: str, until: float, count: int, out: Path, pause: list[str], shares: list[int]) -> None:
    """Batches until the time is over or ``count`` are drawn. pause: a command that must succeed before each."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # the judges' files are better in memory
    with tempfile.TemporaryDirectory(prefix=f"mutate-{number}-", dir=memory) as place:
        trial, seen, different, at = Trial(Path(place)), Counter[str](), set[bytes](), 0
        while time.time() < until and seen.total() < count:
            while pause and os.spawnvp(os.P_WAIT, pause[0], pause):
                time.sleep(2)
            found, faults, digests = batch(trial, f"{seed}/{number}/{at}", min(BATCH, count - seen.total()), shares)
            seen, different, at = seen + found, different | digests, at + 1
            for name, (_, data, what) in faults.items():
                (out / "faults" / f"{name}.patch").write_bytes(data)
                (out / "faults" / f"{name}.txt").write_text(f"seed {seed}/{number}/{at - 1}\n{what}\n")
            part = out / f"job-{number}.json"
            part.with_suffix(".new").write_text(json.dumps({"counts": seen, "drawn": seen.total(), "different": len(different), "batches": at}))
            part.with_suffix(".new").replace(part)


def total(out: Path) -> dict[str, object]:
    parts = [json.loads(path.read_text()) for path in sorted(out.glob("job-*.json"))]
    counts = sum((Counter(each["counts"]) for each in parts), Counter[str]())
    return {"drawn": counts.total(), "different within each job": sum(each["different"] for each in parts), "faults": len(list((out / "faults").glob("*.patch"))),
            "counts": dict(sorted(counts.items()))}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--count", type=int, default=10**9, help="mutations of each job at most")
    parser.add_argument("--seed", default="16")
    parser.add_argument("--out", type=Path, default=Path("mutations"))
    parser.add_argument("--pause", default="", help="a command; a batch begins only where it ends with exit code 0")
    parser.add_argument("--shares", default="55,35,10", help="of mails, quilt entries, words, in a hundred")
    parser.add_argument("--again", type=Path, nargs="+", help="judge these files of a faults folder again, and draw none")
    args = parser.parse_args()
    if lacking := [name for name in ("git", "patch") if shutil.which(name) is None]:
        print(f"not installed: {', '.join(lacking)}", file=sys.stderr)
        return 6
    if args.again:
        with tempfile.TemporaryDirectory() as place:
            trial = Trial(Path(place))
            for path in args.again:
                print(path.name, *trial.one(path.name.partition("-")[0], path.read_bytes()), sep="\n", flush=True)
        return 0
    shares = [int(each) for each in args.shares.split(",")]
    (args.out / "faults").mkdir(parents=True, exist_ok=True)
    begin, until = time.time(), time.time() + 60 * args.minutes
    jobs = [multiprocessing.Process(target=job, args=(number, args.seed, until, args.count, args.out, args.pause.split(), shares)) for number in range(args.jobs)]
    for each in jobs:
        each.start()
    while any(each.is_alive() for each in jobs):
        jobs[0].join(10)
        (args.out / "counts.json").write_text(json.dumps({**total(args.out), "seed": args.seed, "jobs": args.jobs, "minutes": round((time.time() - begin) / 60, 1)}, indent=1))
        for each in jobs:
            each.join(0.1)
    found = {**total(args.out), "seed": args.seed, "jobs": args.jobs, "minutes": round((time.time() - begin) / 60, 2)}
    (args.out / "counts.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))
    return 1 if found["faults"] or any(each.exitcode for each in jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
