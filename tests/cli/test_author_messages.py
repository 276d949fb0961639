"""What the author's commands say to each mistake: one line that names it, and one that says what to type instead. Nothing changes.

Every mistake goes through the command line as typed; apply's and status' own are in test_messages.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_messages import World, git, world_of

from tunefork.cli.main import main

TRAILERS = world_of.TRAILERS
LINES = world_of.FILES["a.py"]


def lines(**changed: str) -> bytes:
    """a.py with some lines replaced: l5="text"."""
    return b"".join(changed.get(f"l{at}", line.decode()).encode() + b"\n" for at, line in enumerate(LINES.splitlines(), 1))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:  # type: ignore[valid-type]
    """one and two change a.py, three needs two by what it says, far changes two places of b.py and c.py."""
    found = world_of.make(tmp_path_factory.mktemp("template"))
    os.environ.update(TUNEFORK_ROOT=str(found.root), TUNEFORK_CACHE=str(found.layout.cache))
    assert main(["apply"]) == 0
    found.commit({"a.py": lines(l5="one")}, "One")
    found.commit({"a.py": lines(l5="one", l6="two", l30="late")}, "Two")
    found.commit({"c.py": b"three\n"}, "Three", "Why.\n\nDepends-On: two\n" + TRAILERS)
    assert main(["patch", "export"]) == 0
    return found


@pytest.fixture
def world(template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:  # type: ignore[valid-type]
    """A copy of the template."""
    root = tmp_path / "root"
    shutil.copytree(template.root, root, symlinks=True)  # type: ignore[attr-defined]
    found = World(type(template.layout)(root, template.layout.cache), template.upstream)  # type: ignore[attr-defined, call-arg]
    monkeypatch.setenv("TUNEFORK_ROOT", str(root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(template.layout.cache))  # type: ignore[attr-defined]
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    git(found.checkout, "config", "user.name", "A. User")
    git(found.checkout, "config", "user.email", "user@example.org")
    return found


Mistake = Callable[[World], object]  # type: ignore[valid-type]


def nothing(_world: World) -> None:  # type: ignore[valid-type]
    pass


def write(name: str, data: bytes, where: str = "up") -> Mistake:
    return lambda world: (world.layout.work / where / name).write_bytes(data)


def typed(*words: str) -> Mistake:
    return lambda _world: main(["patch", *words])


def both(*steps: Mistake) -> Mistake:
    return lambda world: [step(world) for step in steps]


def folder(name: str, **files: bytes) -> Mistake:
    def make(world: World) -> None:  # type: ignore[valid-type]
        (world.root / name).mkdir()
        for file, data in files.items():
            (world.root / name / f"{file}.patch").write_bytes(data)

    return make


MINE = write("a.py", lines(l5="one", l6="two", l30="mine"))
LOST = b"--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-gone\n+x\n"
EDIT = "python3 build.py patch edit --upstream up --continue; or --abort"

# what went before -> (steps, what is typed, exit code, the message holds, the line that says what to type begins with)
MISTAKES = {
    "a patch's name with a typo": (nothing, "edit tow", 2, "no series has a patch 'tow'", "did you mean two? `python3 build.py status` lists them"),
    "edit of nothing": (nothing, "edit", 2, "patch edit takes one of PATCH, --continue and --abort", "python3 build.py patch edit PATCH"),
    "edit and continue at once": (nothing, "edit one --continue", 2, "takes one of PATCH, --continue and --abort", "python3 build.py patch edit PATCH"),
    "nothing to continue": (nothing, "edit --continue", 2, "no edit waits", "`python3 build.py patch edit PATCH` begins one"),
    "nothing to abort": (nothing, "edit --abort", 2, "no edit waits", "`python3 build.py patch edit PATCH` begins one"),
    "a second edit": (typed("edit", "one"), "edit two", 7, "up: a patch is being edited in", f"finish it first: {EDIT}"),
    "another change during an edit": (typed("edit", "one"), "drop three", 7, "a patch is being edited in", f"finish it first: {EDIT}"),
    "files in the edit that git does not know": (both(typed("edit", "one"), write("new.py", b"x\n", "up@edit")), "edit --continue", 3,
                                                 "up@edit has untracked files that this would overwrite: new.py", "in "),
    "nothing left of the edited patch": (both(typed("edit", "one"), write("a.py", LINES, "up@edit")), "edit --continue", 2, "nothing is left of one",
                                         "python3 build.py patch edit --upstream up --abort, then: python3 build.py patch drop one"),
    "markers left": (both(typed("edit", "one"), write("a.py", lines(l5="ONE", l6="SIX"), "up@edit"), typed("edit", "--continue")), "edit --continue", 7,
                     "up@edit: conflict markers are left in a.py", "resolve them in "),
    "refresh of nothing": (nothing, "refresh", 2, "up has no uncommitted change", "edit files in "),
    "refresh of a file that git does not know": (write("new.py", b"x\n"), "refresh one", 2, "up has no uncommitted change", "`git add` makes new.py known"),
    "lines that nobody owns": (write("b.py", b"mine\n"), "refresh", 2, "no single patch owns b.py:1-6 (upstream's lines only)",
                               "`python3 build.py patch refresh PATCH` takes all of the changes into one patch; `python3 build.py patch new NAME --upstream up`"),
    "refresh of a part of the series": (both(lambda _: main(["apply", "--variant", "upto:one"]), write("b.py", b"mine\n")), "refresh one", 3,
                                        "up holds upto:one, not the whole series as it is now", "`git stash` in "),
    "a new patch without a message": (MINE, "new mine", 2, "a new patch needs a message", 'python3 build.py patch new mine -m "Subject" -m "Why ..."'),
    "a new patch of nothing": (nothing, "new mine -m Mine", 2, "up has no uncommitted change", "edit files in "),
    "a name that is taken": (MINE, "new two -m Mine", 2, "up has a patch two already",
                             "take another name, or change that one: python3 build.py patch edit two"),
    "a name that is none": (MINE, "new my/patch -m Mine", 2, "'my/patch' is no name of a patch", "use lower-case words joined by -, such as wider-tiles"),
    "nobody": (both(MINE, lambda w: git(w.checkout, "config", "--unset", "user.name")), "new mine -m Mine", 2, "git does not know who you are",
               'git config --global user.name "Your Name"; git config --global user.email you@example.org'),
    "reorder to nowhere": (nothing, "reorder two", 2, "reorder needs one of --before, --after, --first and --last",
                           "python3 build.py patch reorder two --first"),
    "reorder next to itself": (nothing, "reorder two --after two", 2, "two cannot be moved next to itself", "name another patch after --before or --after"),
    "reorder before what it needs": (nothing, "reorder three --first", 2, "three declares that it depends on two, which would come after it",
                                     "move both: python3 build.py patch reorder two three ..."),
    "a patch twice": (nothing, "drop one one", 2, "one is named twice", "name each patch once"),
    "squash of one": (nothing, "squash one", 2, "squash joins at least two patches", "python3 build.py patch squash one ANOTHER"),
    "split of a file that it does not touch": (nothing, "split two part b.py", 2, "two.patch does not touch 'b.py'",
                                               "it touches a.py (2 hunks); name a file, or PATH:1,3 for its hunks 1 and 3"),
    "split of a hunk that it has not": (nothing, "split two part a.py:3", 2, "a.py:3: a.py has hunks 1 to 2 in two.patch",
                                        "`python3 build.py patch show two` shows them"),
    "split of all": (nothing, "split two part a.py", 2, "that is all of two.patch: nothing would stay in it", "python3 build.py patch rename two ANOTHER"),
    "drop of what another needs": (nothing, "drop two", 2, "three declares that it depends on two", "drop both: python3 build.py patch drop two three; or"),
    "drop under uncommitted work": (write("c.py", b"mine\n"), "drop three", 3, "up has uncommitted changes that this would overwrite: c.py", "`git stash` in "),
    "drop over unexported commits": (lambda w: w.commit({"d.py": b"x\n"}, "My work"), "drop three", 3, "unexported commits that this would overwrite: My work",
                                     "first: python3 build.py patch export up"),
    "rename to a taken name": (nothing, "rename one two", 2, "up has a patch two already", "take another name, or change that one"),
    "an edited file": (lambda w: (w.series / "one.patch").write_bytes((w.series / "one.patch").read_bytes() + b"\n"), "drop three", 8,
                       "one.patch is not the file that series.lock records", "`git checkout -- patches/` takes the change back; if it is meant,"),
    "import without a base": (folder("in", a=LOST), "import in --upstream new", 2, "new is not in pins.toml: an import needs to know what the patches go onto",
                              "add --repo <path or URL of a git repository> --base <tag or commit>; or name one of pins.toml: up"),
    "import of another base": (folder("in", a=LOST), "import in --upstream up --base v9", 2, "--base v9: up is pinned to v1",
                               "leave --base out and rebase afterwards (python3 build.py rebase up --to v9)"),
    "import of nothing": (folder("in"), "import in --upstream up", 2, "holds no patch", "`git format-patch -o` writes files that are taken"),
    "import of what does not apply": (folder("in", a=LOST), "import in --upstream up", 7, "a.patch does not apply to up v1: a.py: hunk 1 (at line 1) does not match",
                                      "nothing was imported; is --base the commit that the patches were made on?"),
}  # fmt: skip


def test_there_are_enough() -> None:
    assert len(MISTAKES) >= 25


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_says_what_to_type(world: World, mistake: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[valid-type]
    prepare, words, code, message, remedy = MISTAKES[mistake]
    prepare(world)
    monkeypatch.chdir(world.root)  # type: ignore[attr-defined]
    before = {path.name: path.read_bytes() for path in world.series.iterdir()}  # type: ignore[attr-defined]
    capsys.readouterr()
    assert main(["patch", *words.split(" ")]) == code
    said = capsys.readouterr().err.splitlines()
    errors, tries = ([line.partition(": ")[2] for line in said if line.startswith(begin)] for begin in ("error: ", "  try: "))
    assert len(errors) == 1 and message in errors[0], said
    assert len(tries) == 1 and tries[0].startswith(remedy), said
    assert "Traceback" not in "".join(said)
    assert {path.name: path.read_bytes() for path in world.series.iterdir()} == before  # type: ignore[attr-defined]


def test_the_documented_new_patch_passes_lint(world: World, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[valid-type]
    """What `patch new --help` shows, typed: its message has what lint asks for; one without is told what will be asked for."""
    import shlex

    from tunefork.cli.patch.author import new
    from tunefork.patchset.inspect.lint import lint

    shown = str(new.help).partition("python3 build.py ")[2].replace("tests/x.py", "a.py")
    words = shlex.split("\n".join(line.strip() for line in shown.splitlines()))
    (world.checkout / "new.py").write_bytes(b"x = 1\n")
    git(world.checkout, "add", "new.py")
    assert main(words) == 0 and "lint will ask" not in capsys.readouterr().out
    assert [each for each in lint(world.layout, "up") if each.patch == words[2]] == []
    (world.checkout / "other.py").write_bytes(b"x = 1\n")
    git(world.checkout, "add", "other.py")
    assert main(["patch", "new", "other", "-m", "[Up] Other", "-m", "Why."]) == 0
    assert "patch lint will ask for Upstream-Status, Scope, Verified-by" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [lambda data: data.replace(b"@@ -", b"@@ -x", 1), lambda data: data[:200], lambda data: b""])
def test_a_damaged_patch_file_comes_back_by_what_is_said(world: World, damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[valid-type]
    """Both ways out of the remedy, typed: git's, and the one for a file that no commit has."""
    git(world.root, "init", "--quiet")
    git(world.root, "add", "patches")
    git(world.root, "commit", "--quiet", "-m", "Patches")
    file = world.series / "two.patch"
    good, order = file.read_bytes(), (world.series / "series").read_bytes()
    file.write_bytes(damage(good))
    assert file.read_bytes() != good and main(["patch", "export"]) == 2
    said = capsys.readouterr().err
    assert "`git checkout -- patches/` brings" in said and "git format-patch -k -1 --stdout COMMIT" in said and "`python3 build.py patch lock`" in said
    git(world.root, "checkout", "--", "patches/")
    assert main(["patch", "export"]) == 0 and file.read_bytes() == good
    file.write_bytes(damage(good))
    commit = git(world.checkout, "log", "--format=%H", "--grep=^Two$", "-1")
    file.write_text(git(world.checkout, "format-patch", "-k", "-1", "--stdout", commit) + "\n")
    assert main(["patch", "lock", "up"]) == 0
    assert file.read_bytes() == good and (world.series / "series").read_bytes() == order
