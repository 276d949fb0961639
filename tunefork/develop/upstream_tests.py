"""vLLM's own tests on two variants, side by side, without a network: which ends differ.

Both runs have the same interpreter, extra packages and selection, each its own checkout; that many of upstream's tests fail on a machine
like this one is no finding, that one fails with a patch and not without is.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tunefork.base.errors import BadInput, BuildError, MissingTool
from tunefork.base.layout import Layout
from tunefork.base.process import Say, no_survivor, quiet, run
from tunefork.base.waiting import ticking
from tunefork.develop.variants import VariantEnvironment
from tunefork.patchset.series import variant as variants
from tunefork.patchset.series.series import Series

# Of what vLLM's tests import and `develop` does not install; versions are those of its requirements/test/cpu.txt.
EXTRA = ("pytest-asyncio", "pytest-mock", "pytest-timeout", "tblib")
LISTED = Path("requirements") / "test" / "cpu.txt"
TRAILER = "Upstream-Tests"
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
PYTEST = ("-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-o", "junit_family=xunit1")
NOT_FOUND, NOTHING = 4, 5  # pytest's exit codes for a selection that is wrong, or empty
GOOD, BAD = "passed", "failed"


@dataclass(frozen=True)
class Outcomes:
    """What one variant's run said. outcomes: test -> "passed", "failed", "error" or "skipped"."""

    variant: str
    outcomes: dict[str, str]
    seconds: float
    log: Path


@dataclass(frozen=True)
class Compared:
    """Two runs beside each other. same: how many tests ended alike, by how.  only_*: tests that one of the two did not have."""

    left: str
    right: str
    newly_failing: tuple[str, ...]
    newly_passing: tuple[str, ...]
    otherwise: tuple[str, ...]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    same: dict[str, int]
    seconds: tuple[float, float]
    logs: tuple[Path, Path]


def selection(series: Series, left: str, right: str) -> tuple[str, ...]:
    """The tests that the patches name in which two variants differ."""
    differ = set(variants.choose(left, series).names) ^ set(variants.choose(right, series).names)
    named = [word for name in series.names if name in differ for word in chosen(series.patches[name].trailers(TRAILER))]
    if not named:
        raise BadInput(f"no patch between {left} and {right} names tests of upstream's that run here ({TRAILER}:)",
                       f"name them: python3 build.py variants test {left} {right} -- tests/test_envs.py")
    return tuple(dict.fromkeys(named))


def chosen(values: Sequence[str]) -> list[str]:
    """The tests of a trailer; ``none <why>`` names none."""
    return [word for value in values if value.split()[0] != "none" for word in value.split()]


def requirements(tree: Path) -> list[str]:
    """The extra packages, at the versions that upstream tests with; BuildError where its list lacks one."""
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (tree / LISTED).read_text(encoding="utf-8"), re.MULTILINE)) if (tree / LISTED).is_file() else {}
    if missing := [name for name in EXTRA if name not in pinned]:
        raise BuildError(f"{tree / LISTED} pins no {', '.join(missing)}", "update EXTRA in tunefork/develop/upstream_tests.py for this pin")
    return [f"{name}=={pinned[name]}" for name in EXTRA]


def extra_packages(layout: Layout, python: Path, tree: Path, say: Say) -> Path:
    """A folder with the extra packages, beside the environment and not in it; installed once."""
    wanted = requirements(tree)
    folder = layout.cache / "upstream-tests" / hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]
    if not (folder / ".complete").is_file():
        say(f"installing {' '.join(wanted)} in {folder}")
        pip: list[str | Path] = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--upgrade", "--target", folder]
        log = layout.logs / "upstream-tests" / "pip.log"
        with ticking("installing", log=log):
            run([*pip, *wanted], log=log)
        (folder / ".complete").touch()
    return folder


def both(layout: Layout, left: VariantEnvironment, right: VariantEnvironment, tests: Sequence[str], say: Say = quiet) -> Compared:
    """Run the selection on two variants at the same time, and compare."""
    extra = extra_packages(layout, left.python, left.tree.path, say)
    folder = layout.logs / "upstream-tests" / time.strftime("%Y%m%dT%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    say(f"vLLM's tests on {left.tree.variant} and {right.tree.variant}, offline: {' '.join(tests)}; logs: {folder}")
    begin, places, ended = time.monotonic(), {}, {}
    with ExitStack() as stack:
        children = {}
        for side, one in (("a", left), ("b", right)):
            places[side] = folder / f"{side}-{variants.choose(one.tree.variant, Series.load('vllm', layout.series_dir('vllm'))).slug}"
            sink = stack.enter_context(places[side].with_suffix(".log").open("wb"))
            words = [str(one.python), "-m", "pytest", *PYTEST, f"--junitxml={places[side].with_suffix('.xml')}", *tests]
            children[side] = stack.enter_context(no_survivor(words, cwd=one.tree.path, env=environment(one, extra), stdin=subprocess.DEVNULL,
                                                             stdout=sink, stderr=subprocess.STDOUT))  # fmt: skip
        waiting = dict(children)
        while waiting:
            for side in [side for side, child in waiting.items() if child.poll() is not None]:
                ended[side] = round(time.monotonic() - begin, 1)
                del waiting[side]
            time.sleep(0.1)
    found = [outcomes(one, children[side].returncode, places[side], ended[side]) for side, one in (("a", left), ("b", right))]
    return compare(*found)


def environment(one: VariantEnvironment, extra: Path) -> dict[str, str]:
    """The variant's environment, the extra packages behind its own, and no network for models."""
    paths = [*filter(None, [one.env.get("PYTHONPATH")]), str(extra)]
    return {**os.environ, **one.env, **OFFLINE, "PYTHONPATH": os.pathsep.join(paths)}


def outcomes(one: VariantEnvironment, code: int, place: Path, seconds: float) -> Outcomes:
    """What a run left; typed errors where it left nothing to compare."""
    log, report = place.with_suffix(".log"), place.with_suffix(".xml")
    last = next((line for line in reversed(log.read_text(errors="replace").splitlines()) if line.startswith("E ") or "ERROR" in line), "")
    if code == NOT_FOUND and "not found" in last:
        raise BadInput(f"vLLM ({one.tree.variant}): {last.strip()}", f"paths are relative to {one.tree.path}, such as tests/test_envs.py")
    if code == NOTHING:
        raise BadInput(f"vLLM ({one.tree.variant}): the selection holds no test", "name a file or a folder below tests/, or another -k")
    try:
        found = read(report.read_text(encoding="utf-8"), one.tree.path)
    except (OSError, ElementTree.ParseError):
        raise MissingTool(f"vLLM's tests did not start on {one.tree.variant} (pytest ended with {code}): {last.strip()}", f"read {log}") from None
    return Outcomes(one.tree.variant, found, seconds, log)


def read(text: str, tree: Path) -> dict[str, str]:
    """The outcome of every test of a JUnit report. Addresses and the checkout's own path do not make two tests of one."""
    found: dict[str, str] = {}
    for case in ElementTree.fromstring(text).iter("testcase"):
        where = case.get("file") or case.get("classname") or ""
        name = f"{where}::{case.get('name', '')}"
        name = re.sub(r"0x[0-9a-f]{6,}", "0x..", name.replace(str(tree), "."))
        ended = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), GOOD)
        ended = BAD if ended == "failure" else ended
        if found.get(name) not in (BAD, "error"):  # a test that fails and whose teardown fails, too, stands there twice
            found[name] = ended
    return found


def compare(left: Outcomes, right: Outcomes) -> Compared:
    """The differences of two runs."""
    a, b = left.outcomes, right.outcomes
    common = [name for name in a if name in b]
    changed = [name for name in common if a[name] != b[name]]
    failing = tuple(name for name in changed if b[name] in (BAD, "error") and a[name] not in (BAD, "error"))
    passing = tuple(name for name in changed if b[name] == GOOD and a[name] in (BAD, "error"))
    same: dict[str, int] = {}
    for name in common:
        if a[name] == b[name]:
            same[a[name]] = same.get(a[name], 0) + 1
    return Compared(
        left.variant, right.variant, failing, passing, tuple(f"{name}: {a[name]}, then {b[name]}" for name in changed if name not in (*failing, *passing)),
        tuple(name for name in a if name not in b), tuple(name for name in b if name not in a), same,
        (left.seconds, right.seconds), (left.log, right.log),
    )  # fmt: skip


def names(found: Mapping[str, int]) -> str:
    """Counts as a text: 99 passed, 6 failed."""
    return ", ".join(f"{count} {how}" for how, count in sorted(found.items(), key=lambda each: -each[1])) or "none"
