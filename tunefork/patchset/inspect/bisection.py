"""Bisection over a series: which patch makes a command fail. Every verdict is kept as it comes, so that a bisection can be stopped and resumed.

First over the prefixes of the series (``base``, ``upto:P``), which always apply; then, on request, over subsets: the fewest of the patches
before the culprit with which the command still fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tunefork.base.errors import BadInput, PatchConflict
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.base.transaction import Transaction
from tunefork.patchset.series import variant
from tunefork.patchset.series.series import Series

GOOD, BAD, SKIP = "good", "bad", "skip"


@dataclass(frozen=True)
class Verdict:
    """What one variant did. verdict: "good", "bad" or "skip".  code: the command's exit code (None where it was not run).  why: for a skip."""

    variant: str
    verdict: str
    code: int | None
    seconds: float
    log: str = ""
    why: str = ""


@dataclass(frozen=True)
class Bisected:
    """The end of a bisection.

    culprit: the first patch with which the command fails.  candidates: more than one where skipped variants hide which it is.
    needs: with subsets, the earlier patches without which the culprit does not fail (None: not asked).
    """

    upstream: str
    culprit: str | None
    candidates: tuple[str, ...]
    needs: tuple[str, ...] | None
    verdicts: tuple[Verdict, ...]


Try = Callable[[str], Verdict]
"""Runs the command on a variant."""


@dataclass
class Bisection:
    """The file that a bisection is resumed from. asked: what the user wants to know (command and limits), as JSON knows it."""

    path: Path
    series: str
    asked: dict[str, object]
    verdicts: list[Verdict]

    @classmethod
    def at(cls, layout: Layout, upstream: str) -> Path:
        return layout.work / ".bisect" / f"{upstream}.json"

    @classmethod
    def load(cls, path: Path) -> Bisection | None:
        """The journal in a file; None where no bisection waits. BadInput when it cannot be read."""
        return Transaction(path).read(lambda data: cls(path, data["series"], data["asked"], [Verdict(**each) for each in data["verdicts"]]),
                                      f"python3 build.py bisect {path.stem} --reset, then begin again")  # fmt: skip

    def save(self) -> None:
        verdicts = [asdict(each) for each in self.verdicts]
        Transaction(self.path).step({"series": self.series, "asked": self.asked, "verdicts": verdicts}, indent=1)


def bisect(series: Series, journal: Bisection, run: Try, *, good: str = "base", bad: str = "all", subsets: bool = False, say: Say = quiet) -> Bisected:
    """Find the culprit between two prefixes. BadInput where the ends are not a good and a bad one: then it is not a patch of this range."""

    def judged(spec: str) -> Verdict:
        spec = variant.choose(spec, series).spec
        known = next((each for each in journal.verdicts if each.variant == spec), None)
        if known is None:
            known = tried(run, spec)
            journal.verdicts.append(known)
            journal.save()
        say(f"{series.upstream}: {spec} is {known.verdict}" + (f": {known.why}" if known.why else ""))
        return known

    def verdict(spec: str) -> str:
        return judged(spec).verdict

    low, high = prefix(series, good), prefix(series, bad)
    if low >= high:
        raise BadInput(f"{good} is not before {bad} in the series", "name a good prefix and a longer bad one, such as --good base --bad all")
    for end, at, wanted in ((good, low, GOOD), (bad, high, BAD)):
        if (got := judged(spec_of(series, at))).verdict != wanted:
            printed = f"; what it printed: {got.log}" if got.log else ""
            raise BadInput(f"{end} is {got.verdict}, not {wanted}: the command does not tell {good} from {bad}{printed}",
                           f"{'read that log; ' if got.log else ''}run it by hand on {end}; --good and --bad choose other ends; "
                           "--reset forgets what was tried")  # fmt: skip
    low, high = narrow(series, low, high, verdict)
    candidates = tuple(series.names[low:high])
    culprit = candidates[0] if len(candidates) == 1 else None
    needs = fewest(series, culprit, verdict) if culprit and subsets else None
    return Bisected(series.upstream, culprit, candidates, needs, tuple(journal.verdicts))


def tried(run: Try, spec: str) -> Verdict:
    """A variant's verdict; one whose patches do not go together is skipped."""
    try:
        return run(spec)
    except PatchConflict as conflict:
        return Verdict(spec, SKIP, None, 0.0, why=conflict.message)


def prefix(series: Series, spec: str) -> int:
    """How many patches a prefix variant holds."""
    chosen = variant.choose(spec, series)
    if not chosen.exact:
        raise BadInput(f"{spec} is no prefix of the series", "use base, all or upto:P")
    return len(chosen.names)


def spec_of(series: Series, at: int) -> str:
    return "base" if at == 0 else "all" if at == len(series.names) else f"upto:{series.names[at - 1]}"


def narrow(series: Series, low: int, high: int, verdict: Callable[[str], str]) -> tuple[int, int]:
    """The closest (good, bad) pair of prefix lengths; wider than one patch only where everything between is skipped."""
    skipped: set[int] = set()
    while left := [at for at in range(low + 1, high) if at not in skipped]:
        at = min(left, key=lambda each: abs(2 * each - low - high))
        found = verdict(spec_of(series, at))
        if found == SKIP:
            skipped.add(at)
        elif found == GOOD:
            low = at
        else:
            high = at
    return low, high


def fewest(series: Series, culprit: str, verdict: Callable[[str], str]) -> tuple[str, ...]:
    """The patches before the culprit that it takes to fail: each is left out in turn, from the last, where the rest still fails without it."""
    kept = list(series.names[: series.names.index(culprit)])
    if verdict(f"only:{culprit}") == BAD:
        return ordered(series, f"only:{culprit}", culprit)
    for each in reversed(tuple(kept)):
        fewer = [name for name in kept if name != each]
        spec = only(series, [*fewer, culprit])
        if each not in variant.choose(spec, series).names and verdict(spec) == BAD:
            kept = [name for name in variant.choose(spec, series).names if name != culprit]
    return ordered(series, only(series, [*kept, culprit]), culprit)


def only(series: Series, names: Sequence[str]) -> str:
    return f"only:{','.join(name for name in series.names if name in names)}"


def ordered(series: Series, spec: str, culprit: str) -> tuple[str, ...]:
    return tuple(name for name in variant.choose(spec, series).names if name != culprit)
