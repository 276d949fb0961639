"""The patch files: whole, in the form of the policy (patches/README.md), and as independent as they say."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

PATCHES = Path(__file__).resolve().parents[2] / "patches"
UPSTREAMS = ("vllm", "aiter")
FILES = sorted(PATCHES.glob("*/*.patch"))
TRAILERS = {
    "Upstream-Status": r"Pending|Submitted https://\S+|Backport [0-9a-f]{40}|Inappropriate .+",
    "Scope": r"python|native|config",
    "Verified-by": r"python .+",
    "Upstream-Tests": r"\S.*",
    "Expected-gain": r".+",
    "Depends-On": r"\S+",
    "Signed-off-by": r".+ <\S+@\S+>",
}
OPTIONAL = {"Depends-On"}
GENERATED = {"tunefork-moe"}  # keep the lines of what they are made from


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def series(upstream: str) -> list[str]:
    lines = (PATCHES / upstream / "series").read_text().splitlines()
    return [entry for line in lines if (entry := line.partition("#")[0].strip())]


def message(path: Path) -> str:
    """The commit message below the subject."""
    return path.read_text().split("\n\n", 1)[1].split("\n\ndiff --git ")[0]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_every_patch_is_in_the_series(upstream: str) -> None:
    assert sorted(series(upstream)) == [path.name for path in FILES if path.parent.name == upstream]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_every_patch_is_documented(upstream: str) -> None:
    """In the order of the series: a row of the policy's table, a row and a section of docs/series.md; and nothing that is no longer there."""
    ordered = [entry.removesuffix(".patch") for entry in series(upstream) if entry.endswith(".patch")]
    policy = (PATCHES / "README.md").read_text()
    rows = re.findall(rf"^\| {upstream} (\d+) \| `([\w-]+)` \|", policy, re.MULTILINE)
    assert rows == [(str(place), entry) for place, entry in enumerate(ordered, 1)]
    page = (PATCHES.parent / "docs/series.md").read_text()
    room = page.split({"vllm": "## vLLM\n", "aiter": "## AITER\n"}[upstream])[1].split("\n## ")[0]
    assert re.findall(r"^\| \[`([\w-]+)`\]\(#\1\) \|", room, re.MULTILINE) == ordered
    assert re.findall(r"^### ([\w-]+)$", room, re.MULTILINE) == ordered


@pytest.mark.parametrize("path", FILES, ids=name)
def test_trailers(path: Path) -> None:
    *body, last = message(path).split("\n\n")
    found = dict(line.split(": ", 1) for line in last.splitlines())
    assert list(found) == [trailer for trailer in TRAILERS if trailer in found]
    assert set(TRAILERS) - set(found) <= OPTIONAL
    for trailer, value in found.items():
        assert re.fullmatch(TRAILERS[trailer], value), (trailer, value)
    assert "measured" not in found["Expected-gain"].replace("unmeasured", "").replace("until measured", "")
    assert len(body) >= 2, "a body says the problem, the change and the risk"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_verified_by_names_a_test_that_exists(path: Path) -> None:
    command = next(line for line in message(path).splitlines() if line.startswith("Verified-by: "))
    target, *choice = command.split("pytest ")[1].split(" -k ")
    source = (PATCHES.parent / target).read_text()
    assert name(path) in source
    assert not choice or re.search(rf"def test_\w*{choice[0]}", source)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_quotes_upstream_only_around_its_changes(path: Path) -> None:
    """Three lines of context at most, new lines that are not long, and no white space at the end of one."""
    run = 0
    for line in path.read_text().split("\ndiff --git ", 1)[1].splitlines():
        run = run + 1 if line.startswith(" ") else 0
        assert run <= 6, "more context than two neighbouring changes need"
        if line.startswith("+") and not line.startswith("+++"):
            assert (len(line) <= 111 or path.stem in GENERATED) and line == line.rstrip()


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=name)
def test_applies_alone_unless_it_says_what_it_needs(path: Path, patched: Any, tmp_path: Path) -> None:
    """On the pin, in an index of its own, by three-way merge: the base of `--variant only:`."""
    patch = patched(name(path))
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_INDEX_FILE": str(tmp_path / "index"), "GIT_CONFIG_COUNT": "1"}
    env |= {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(patch.tree), *words], env=env, capture_output=True, text=True, check=False)

    assert git("read-tree", patch.pin()).returncode == 0
    needs = re.findall(r"^Depends-On: (\S+)$", message(path), re.MULTILINE)
    for need in [f"{needed}.patch" for needed in needs] + [path.name]:
        done = git("apply", "--cached", "--3way", "--whitespace=nowarn", str(path.with_name(need)))
        assert done.returncode == 0, done.stderr
