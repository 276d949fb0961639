"""tunefork/cli/main.py: one line for a typing mistake, one exit code per kind of error, and a traceback only when asked for."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tunefork.base import errors
from tunefork.base.layout import Layout
from tunefork.cli import main as module
from tunefork.cli import options, status
from tunefork.cli.main import main
from tunefork.cli.registry import ROOT, TABLE, CommandRow


@pytest.mark.parametrize(
    ("words", "said", "remedy"),
    [
        (["aply"], "No such command 'aply'", "try: python3 build.py apply"),
        (["zzz"], "No such command 'zzz'", "try: python3 build.py -h"),
        (["submit"], "No such command 'submit'", "try: python3 build.py bench submit"),
        (["bench", "trace"], "No such command 'trace'", "try: python3 build.py bench -h"),
        (["status", "--jsno"], "No such option", "try: python3 build.py status -h"),
        (["patch", "lock"], "Missing argument 'UPSTREAM'", "try: python3 build.py patch lock -h"),
    ],
)
def test_a_typing_mistake(words: list[str], said: str, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err and remedy in err and "Traceback" not in err


@pytest.mark.parametrize("words", [[], ["patch"]])
def test_no_command_prints_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "Usage: build.py" in capsys.readouterr().out


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.group} {row.name}")
def test_every_command_explains_itself(row: CommandRow, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([row.name, "-h"] if row.group == ROOT else [row.group, row.name, "-h"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 5


@pytest.mark.parametrize("by", ["runner", "itself"])
def test_a_command_called_alone_first_still_explains_itself(by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As many tests do, in whatever order."""

    @click.command()
    def status() -> None:
        """Say what is."""

    monkeypatch.setattr(module.Commands, "get_command", lambda self, ctx, name: status)
    if by == "runner":
        assert CliRunner().invoke(status, []).exit_code == 0
    else:
        status.main([], standalone_mode=False)
    assert main(["status", "-h"]) == 0
    assert "Say what is." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.BadInput, 2), (errors.WorkAtRisk, 3), (errors.SourceError, 4), (errors.BuildError, 5), (errors.MissingTool, 6),
     (errors.PatchConflict, 7), (errors.LockMismatch, 8), (errors.ServeError, 9)],
)
def test_each_kind_of_error_has_its_exit_code(
    error: type[errors.TuneforkError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def status(as_json: bool) -> None:
        raise error("it came out wrong", "type this instead")

    monkeypatch.setattr(module.Commands, "get_command", lambda self, ctx, name: status)
    assert main(["status", "--json"]) == code
    shown = capsys.readouterr()
    assert shown.err == "error: it came out wrong\n  try: type this instead\n"
    assert json.loads(shown.out)["error"] == {"kind": error.__name__, "message": "it came out wrong", "remedy": "type this instead"}
    with pytest.raises(error):
        main(["-v", "status"])


def test_what_an_apply_with_nothing_to_do_does_not_import() -> None:
    """It begins every command's day: GitPython, mail, merging and tables are imported when something is to be done."""
    code = "import sys, tunefork.cli.apply; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    late = {"git", "subprocess", "tempfile", "email.utils", "rich", "difflib", "tunefork.patchset.series.materialise", "tunefork.patchset.sources.sources"}
    assert "tunefork.patchset.checkout.apply" in loaded and not late & set(loaded)


def test_the_first_look_at_checkouts_is_a_shown_wait(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: list[str] = []

    @contextmanager
    def ticking(what: str) -> Iterator[None]:
        shown.append(what)
        yield
        shown.append("over")

    monkeypatch.setattr(status, "ticking", ticking)
    monkeypatch.setattr(status, "look", lambda _layout, name: shown.append(f"status of {name}"))
    status.looked(Layout(tmp_path, tmp_path), "vllm")
    assert shown == ["looking at vllm's files", "status of vllm", "over"]


@pytest.mark.parametrize("words", [("--conc", "4,8"), ("--conc", "4", "--conc", "8"), ("--conc=4,8",)])
def test_concurrencies_are_a_list_or_said_one_by_one(words: tuple[str, ...]) -> None:
    seen: list[tuple[int, ...]] = []

    @click.command()
    @options.conc("Which.")
    def command(conc: tuple[int, ...]) -> None:
        seen.append(conc)

    assert command.main(list(words), standalone_mode=False) is None
    assert seen == [(4, 8)]
    with pytest.raises(click.BadParameter, match="'4;8' is no list of whole numbers: --conc 4,8"):
        command.main(["--conc", "4;8"], standalone_mode=False)


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "free space there"), (errno.EROFS, "read-only"), (errno.EACCES, "readable and writable")])
def test_what_the_machine_lacks_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, says: str) -> None:
    def lacking(**_kw: object) -> None:
        raise OSError(number, os.strerror(number), "/x/y")

    monkeypatch.setattr(module.tunefork, "main", lacking)
    assert main(["status"]) == 1
    said = capsys.readouterr().err
    assert f"{os.strerror(number)}: /x/y" in said and says in said
    with pytest.raises(OSError, match="/x/y"):
        main(["-v", "status"])
