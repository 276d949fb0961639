"""tunefork.toml, -C, --plain, completion, and suggestions for what was misspelt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tunefork.base.errors import BadInput
from tunefork.cli import defaults, output
from tunefork.cli.main import main, plain_first, tunefork
from tunefork.cli.registry import Commands


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "patches").mkdir()
    (tmp_path / "pins.toml").write_text("")
    monkeypatch.setenv("TUNEFORK_ROOT", str(tmp_path))
    monkeypatch.delenv("TUNEFORK_CACHE", raising=False)
    return tmp_path


def test_every_default_is_an_option_of_its_command() -> None:
    for places in defaults.OPTIONS.values():
        for *words, parameter in places:
            command: click.Command = tunefork
            for word in words:
                assert isinstance(command, Commands)
                found = command.get_command(click.Context(command), word)
                assert found is not None
                command = found
            assert parameter in {one.name for one in command.params}, words


def test_what_is_typed_goes_before_the_file(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "tunefork.toml").write_text('profile = "seed"\n')
    assert main(["serve", "--dry-run"]) == 0
    assert "--tensor-parallel-size 8" in capsys.readouterr().out
    assert main(["serve", "--dry-run", "--profile", "stage2"]) == 0
    assert "--tensor-parallel-size 1" in capsys.readouterr().out


def test_the_cache_of_the_file(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "tunefork.toml").write_text('cache = "here"\n')
    monkeypatch.setenv("TUNEFORK_CACHE", "/other")
    defaults.default_map()
    assert os.environ["TUNEFORK_CACHE"] == "/other", "the environment goes before the file"
    monkeypatch.delenv("TUNEFORK_CACHE")
    defaults.default_map()
    assert os.environ["TUNEFORK_CACHE"] == str(checkout / "here")


@pytest.mark.parametrize(("text", "says"), [('profil = "x"', "no such key 'profil'"), ("team = 1", "team: expected a text"), ("[", "not TOML")])
def test_a_file_that_cannot_be_meant(checkout: Path, text: str, says: str) -> None:
    (checkout / "tunefork.toml").write_text(text)
    with pytest.raises(BadInput, match=says):
        defaults.default_map()


def test_another_folders_checkout(checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "patches").mkdir()
    (other / "pins.toml").write_text("")
    (other / "tunefork.toml").write_text('profile = "stage2"\n')
    monkeypatch.chdir(checkout)
    assert main(["-C", str(other / "patches"), "serve", "--dry-run"]) == 0
    assert "--tensor-parallel-size 1" in capsys.readouterr().out
    assert Path.cwd() == other / "patches"
    assert main(["-C", "/", "status"]) == 2
    assert "-C /: not in a Tunefork checkout" in capsys.readouterr().err


@pytest.mark.parametrize(("args", "says"), [
    (["bnech"], "python3 build.py bench"), (["bench", "submti"], "python3 build.py bench submit"), (["submit"], "python3 build.py bench submit"),
    (["patch", "expotr"], "python3 build.py patch export"), (["kernels", "tnue"], "python3 build.py kernels tune"), (["zzzz"], "python3 build.py -h"),
    (["patch", "show", "moe-pad-onec"], "did you mean moe-pad-once? "), (["doctor", "--target", "gfx90"], "--target gfx950"),
    (["bench", "ab", "--client", "buitlin"], "--client builtin"), (["kernels", "tune", "--tp", "3"], "python3 build.py kernels tune -h"),
    (["bench", "ab", "--metric", "total_token_throughputt"], "--metric total_token_throughput\n"), (["upstream", "moe-pad-onec", "--onto", "main"], "did you mean moe-pad-once? "),
])
def test_a_misspelt_name_is_answered_with_one_near_it(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert f"try: {says}" in capsys.readouterr().err


WIDE = ("a/path/" * 20 + "end", "words that stay together " * 4)


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("t", ("path", "x"), [WIDE, ("1", "東京")])
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert (title, head.split(), second.split()) == ("t", ["path", "x"], ["1", "東京"])
    assert all(cell.strip() in first for cell in WIDE)


def test_a_narrow_terminal_breaks_no_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    output.table("t", ("path", "x"), [WIDE])
    lines = capsys.readouterr().out.splitlines()
    assert any(WIDE[0] in line for line in lines) and any(WIDE[1].strip() in line for line in lines)
    output.table("t", ("a", "b"), [("1", "2")])
    assert capsys.readouterr().out.splitlines()[-1] == "1  2"


def test_plain_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    @click.group()
    @click.option("--plain", is_flag=True)
    def group(plain: bool) -> None:
        pass

    @group.command()
    def show() -> None:
        output.table("title", ("a", "b"), [("1 \t x", "2")])

    group.main(["--plain", "show"], standalone_mode=False)
    assert capsys.readouterr().out == "a\tb\n1 x\t2\n"
    assert plain_first(["status", "--plain", "--json"]) == ["--plain", "status", "--json"]
    assert plain_first(["serve", "--", "--plain"]) == ["serve", "--", "--plain"]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "offers"), [("tunefork ben", "bench"), ("tunefork bench su", "submit"), ("tunefork serve --prof", "--profile")])
def test_the_shell_completes(words: str, offers: str, tmp_path: Path) -> None:
    run = "import sys; sys.argv[0] = 'tunefork'; from tunefork.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={**os.environ, "_TUNEFORK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)})
    assert f"plain,{offers}" in done.stdout.split(), done.stderr
