"""The remedy of an error, typed as it is printed, changes the situation: the same command then ends otherwise.

A row for each situation that the manager refuses and for which it prints a command of its own. The first such command is run.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_author import three
from test_park import conflicting, parked_path
from test_rebase import lines, series, upstream
from world import World, git

from tunefork.cli.main import main
from tunefork.patchset.checkout import repin
from tunefork.patchset.upstream import submission

ROOT = Path(__file__).resolve().parents[2]
PRINTED = re.compile(r"python3 build\.py ((?:[^\s`;,()]|,(?=\S))+(?: (?:[^\s`;,()]|,(?=\S))+)*)")


@dataclass(frozen=True)
class Refusal:
    """A refused command. says: what it says.  remedy: how the command of its remedy begins."""

    prepare: Callable[[World], object]
    command: str
    says: str
    remedy: str


def unexported(world: World) -> None:
    three(world)
    world.commit({"b.py": b"mine\n"}, "Mine")


def edited_by_hand(world: World) -> None:
    three(world)
    path = world.series / "one.patch"
    path.write_bytes(path.read_bytes().replace(b"+one", b"+hand"))


def editing(world: World) -> None:
    three(world)
    assert main(["patch", "edit", "one"]) == 0


def gone(world: World) -> None:
    three(world)
    shutil.rmtree(world.layout.checkout("up"))


def variant(world: World) -> None:
    three(world)
    assert main(["apply", "up", "--variant", "base"]) == 0


def variant_with_a_new_file(world: World) -> None:
    variant(world)
    (world.checkout / "notes.txt").write_bytes(b"mine\n")


def damaged(prepare: Callable[[World], object], journal: Callable[[World], object]) -> Callable[[World], None]:
    def damage(world: World) -> None:
        prepare(world)
        journal(world).journal.write_text("{")  # type: ignore[attr-defined]

    return damage


def parked(world: World) -> None:
    conflicting(world)
    assert main(["patch", "lock", "up"]) == 7


def resolved(world: World) -> None:
    parked(world)
    (parked_path(world) / "a.py").write_bytes(lines(l5="resolved"))


def rebasing(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"b.py": b"two\n"}))
    upstream(world, {"a.py": lines(l5="theirs")})
    assert main(["rebase", "up", "--to", "v2"]) == 7
    (world.layout.checkout("up", "rebase") / "a.py").write_bytes(lines(l5="both"))


def submitting(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"b.py": b"two\n"}))
    upstream(world, {"a.py": lines(l5="theirs")})
    assert main(["upstream", "one", "--onto", "v2", "--yes"]) == 7
    (world.layout.checkout("up", "upstream-one") / "a.py").write_bytes(lines(l5="both"))


def bisecting(world: World) -> None:
    three(world)
    mended = world.root / "mended"
    assert main(["bisect", "up", "--run", f"test -f {mended} || exit 128; ! grep -q two a.py"]) != 0
    mended.touch()


def nothing_left(world: World) -> None:
    editing(world)
    git(world.layout.checkout("up", "edit"), "rm", "--quiet", "-f", "a.py", check=False)
    git(world.layout.checkout("up", "edit"), "checkout", "--quiet", "HEAD~1", "--", ".")


REFUSALS = {
    "unexported commits": Refusal(unexported, "apply up --variant base", "unexported", "patch export"),
    "a patch edited by hand": Refusal(edited_by_hand, "apply up", "is not the file that", "patch lock up"),
    "an edit waits": Refusal(editing, "patch edit two", "is being edited", "patch edit"),
    "reshaping while an edit waits": Refusal(editing, "patch drop two", "is being edited", "patch edit"),
    "rebasing while an edit waits": Refusal(editing, "rebase up --to v1", "is being edited", "patch edit"),
    "nothing is left of an edit": Refusal(nothing_left, "patch edit --continue", "nothing is left", "patch edit --upstream up --abort"),
    "a damaged edit": Refusal(damaged(editing, lambda world: repin.editing(world.layout, "up")), "patch edit --continue", "is damaged", "patch edit --upstream up --abort"),
    "no edit waits": Refusal(three, "patch edit --continue", "no edit waits", "patch edit"),
    "a parked patch": Refusal(resolved, "patch lock up", "waits|parked", "apply up --continue"),
    "a rebase waits": Refusal(rebasing, "rebase up --to v2", "waits|not finished|progress", "rebase"),
    "a damaged rebase": Refusal(damaged(rebasing, lambda world: repin.rebasing(world.layout, "up")), "rebase up --continue", "is damaged", "rebase up --abort"),
    "an upstream branch waits": Refusal(submitting, "upstream one --onto v2 --yes", "waits", "upstream one --continue"),
    "a damaged upstream branch": Refusal(damaged(submitting, lambda world: submission.waiting(world.layout, "up", "one")), "upstream one --continue", "is damaged", "upstream one --abort"),
    "a variant, and nothing changed": Refusal(variant, "patch refresh", r"not the whole series as it is now\n  try: python3 build.py apply up\n", "apply up"),
    "a variant, and an untracked file, which no stash takes": Refusal(variant_with_a_new_file, "patch refresh", r"series as it is now\n  try: python3 build.py apply up\n", "apply up"),
    "no such patch": Refusal(three, "patch show nothere", "no series has", "status"),
    "no such patch to drop": Refusal(three, "patch drop nothere", "no series has", "status"),
    "no such backup": Refusal(three, "backup nothere", "no backup", "backup"),
    "no rebase to abort": Refusal(three, "rebase up --abort", "no rebase waits", "status up"),
    "no parked patch": Refusal(three, "apply up --continue", "no patch is parked", "status"),
    "no edit to abort": Refusal(three, "patch edit --abort", "no edit waits", "patch edit"),
    "a checkout that is gone": Refusal(gone, "patch refresh", "not the whole series", "apply up"),
    "a new patch in a checkout that is gone": Refusal(gone, "patch new x -m a -m b", "has no checkout|not the whole series", "apply up"),
    "no such record": Refusal(three, "bench submit nothing --dry-run", "no record", "bench query"),
    "a record to report that is not there": Refusal(three, "bench report nothing", "no record|expected|no such", "bench"),
    "a bisection waits": Refusal(bisecting, "bisect up --run true", "waits", "bisect up --continue"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSALS)
def test_the_remedy_changes_the_situation(name: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    refusal = REFUSALS[name]
    refusal.prepare(world)
    capsys.readouterr()
    code = main(shlex.split(refusal.command))
    said = capsys.readouterr().err
    assert code != 0 and re.search(refusal.says, said), said
    printed = PRINTED.search(said.partition("try:")[2])
    assert printed is not None and printed[1].startswith(refusal.remedy), said
    typed = main(shlex.split(printed[1].replace("PATCH", "one")))
    answer = capsys.readouterr()
    again = main(shlex.split(refusal.command))
    assert (again, capsys.readouterr().err) != (code, said) or (typed == 0 and answer.out.strip()), (printed[1], answer)


def test_a_repository_that_moved_is_found_by_the_remedy(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    world.upstream.rename(world.upstream.with_name("moved"))
    assert main(["apply", "up"]) == 4
    printed = re.search(r"`(git config .*)`", capsys.readouterr().err)
    assert printed is not None
    words = shlex.split(printed[1].replace("<where it is now>", f"file://{world.upstream.with_name('moved')}"))
    subprocess.run(words, check=True)
    assert main(["apply", "up"]) == 0


# Where each class of error is met, and what its remedy says is done: a row above, or a test elsewhere that does by hand what no command of ours can.
SITUATIONS = {
    "BadInput": "no such patch", "WorkAtRisk": "unexported commits", "LockMismatch": "a patch edited by hand", "PatchConflict": "a parked patch",
    "Mismatch": "a parked patch", "Damaged": "a damaged edit", "RecordError": "no such record", "GitError": "a checkout that is gone",
    "SourceError": "tests/patchset/test_remedies.py::test_a_repository_that_moved_is_found_by_the_remedy",
    "UnsafeArchive": "tests/patchset/sources/test_archive.py::test_what_is_refused_is_removed_as_printed_and_another_one_is_taken",
    "MissingTool": "tests/patchset/sources/test_packages.py::test_a_python_without_pip_is_said", "BuildError": "tests/develop/test_variants.py::test_a_store_that_was_emptied_is_filled_by_what_is_printed",
    "DamagedArtefact": "tests/develop/test_store.py::test_a_damaged_artefact_is_never_placed_and_is_dropped",
    "ServeError": "tests/bench/run/test_remedies.py::test_another_port_is_free", "AccuracyUnknown": "tests/bench/run/test_remedies.py::test_the_log_to_read_says_why", "NothingMeasured": "tests/bench/run/test_remedies.py::test_failed_configurations_are_measured_by_resume",
    "SubmitRefused": "tests/bench/submit/test_submit_command.py::test_remedies_of_a_refusal_and_of_a_failure_help", "SubmitFailed": "tests/bench/submit/test_submit_command.py::test_remedies_of_a_refusal_and_of_a_failure_help",
    "SubmitUnknown": "tests/bench/submit/test_submit.py::test_again_sends_once_more_only_where_the_end_is_not_known",
    "AccuracyMissed": "tests/bench/run/test_remedies.py::test_a_missed_gate_is_asked_of_one_patch", "ConfigurationsFailed": "tests/bench/run/test_remedies.py::test_failed_configurations_are_measured_by_resume",
    "Unaccounted": "tests/patchset/author/test_ledger.py::test_what_falls_through_a_hole_is_an_error",
}  # fmt: skip


def classes() -> set[str]:
    """Every error of ours, from the package's text: a class that nobody imports here counts as well."""
    bases: dict[str, set[str]] = {}
    for path in (ROOT / "tunefork").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(ast.unparse(base).rpartition(".")[2] for base in node.bases)
    found = {"TuneforkError"}
    while more := {name for name, over in bases.items() if over & found} - found:
        found |= more
    return found - {"TuneforkError"}


@pytest.mark.slow
def test_every_class_of_error_has_a_situation() -> None:
    assert classes() == SITUATIONS.keys()
    for name, where in SITUATIONS.items():
        path, _, test = where.partition("::")
        if path.startswith("tests/"):
            assert f"def {test}(" in (ROOT / path).read_text() if test else (ROOT / path).is_file(), name
        else:
            assert where in REFUSALS, name
