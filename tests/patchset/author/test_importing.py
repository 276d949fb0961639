"""tunefork/patchset/author/importing.py and foreign.py: what format-patch and quilt write becomes a series, exactly, or nothing is changed."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import quopri
import shutil
from pathlib import Path

import pytest
from test_author import files, three
from world import FILES, World, applied, git, make

from tunefork.base.errors import BadInput, PatchConflict
from tunefork.base.layout import Layout
from tunefork.cli.main import main
from tunefork.patchset.author import foreign
from tunefork.patchset.author.foreign import fresh_name, read, read_folder
from tunefork.patchset.author.importing import Unfit, import_folder, onto
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export, lock_series
from tunefork.patchset.git import Git
from tunefork.patchset.series import diff
from tunefork.patchset.series.series import Series

BODY = "Why so.\n\nSigned-off-by: B <b@c>"


def history(world: World) -> tuple[Path, str]:
    """Commits of every kind on the upstream, as format-patch writes them with a user's own settings; (folder, tree)."""
    up = world.upstream
    steps: list[tuple[str, dict[str, bytes | None]]] = [
        ("[PATCH-like] tag stays", {"a.py": FILES["a.py"].replace(b"line 5\n", b"five\n")}),
        ("Ümlauts, and a long subject " + "that folds " * 12, {"pkg/c.py": b"value = 4\n"}),
        ("Rename", {"b.py": None, "moved/b.py": FILES["b.py"]}),
        ("Binary", {"blob.bin": bytes(reversed(range(256))) * 4}),
        ("Line ends", {"crlf.txt": b"one\r\nTWO\r\nthree\r\n", "noeol.txt": b"no end of line, still"}),
        ("Latin", {"latin.txt": "caf\xe9\nLINE\n".encode("latin-1"), "n\xe4me with blank": b"x\n"}),
        ("Empty and gone", {"empty": None, "another": b""}),
    ]
    for subject, changed in steps:
        for name, data in changed.items():
            path = up / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink() if data is None else path.write_bytes(data)
        git(up, "add", "--all")
        git(up, "commit", "--quiet", "-m", f"{subject}\n\n{BODY}")
    (up / "run.sh").chmod(0o755)
    git(up, "commit", "--quiet", "--all", "-m", "Mode\n\n" + BODY)
    folder = world.root.parent / "patches"
    git(up, "-c", "diff.renames=copies", "format-patch", "--quiet", "--binary", "--cover-letter", "-o", str(folder), "v1")
    return folder, git(up, "rev-parse", "HEAD^{tree}")


def consistent(layout: Layout, upstream: str, tree: str) -> None:
    assert apply(layout, upstream).tree == tree and apply(layout, upstream).changed == 0
    assert export(layout, upstream, dry_run=True).same and lock_series(layout, upstream, check=True).same


def quilt(folder: Path, **patches: bytes) -> Path:
    folder.mkdir()
    for name, data in patches.items():
        (folder / f"{name}.diff").write_bytes(data)
    (folder / "series").write_text("# order\n" + "".join(f"{name}.diff\n" for name in patches))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my repos", "per%20cent", "größe #1"])
def test_a_repository_of_any_path(name: str, world: World, tmp_path: Path) -> None:
    folder, tree = history(world)
    shutil.copytree(world.upstream, tmp_path / name)
    layout = Layout(tmp_path / "other", tmp_path / "cache")
    layout.root.mkdir()
    assert import_folder(layout, folder, "mine", base="v1", repository=str(tmp_path / name)).tree == tree
    shutil.rmtree(layout.checkout("mine"))
    consistent(layout, "mine", tree)  # pins.toml is read again, and the repository found


def test_a_url_that_pins_cannot_hold_is_refused_before_anything_is_written(world: World, tmp_path: Path) -> None:
    folder, _ = history(world)
    layout = Layout(tmp_path / "other", tmp_path / "cache")
    layout.root.mkdir()
    with pytest.raises(BadInput, match="no URL that pins.toml can hold"):
        import_folder(layout, folder, "mine", base="v1", repository="https://example.org/my repos/x.git")
    assert list(layout.root.iterdir()) == []


def test_a_history_onto_a_new_upstream_in_an_empty_root(world: World, tmp_path: Path) -> None:
    folder, tree = history(world)
    layout = Layout(tmp_path / "other", tmp_path / "cache")
    layout.root.mkdir()
    done = import_folder(layout, folder, "mine", base="v1", repository=str(world.upstream))
    assert done.tree == tree and [each.file for each in done.patches] == sorted(path.name for path in folder.iterdir())[1:]
    assert done.passed == ("0000-cover-letter.patch: no diff in it",)
    assert done.patches[0].subject == "tag stays" and done.patches[0].notes == ("git am takes '[PATCH-like]' off the subject",)
    names = Series.load("mine", layout.series_dir("mine")).names
    assert names == [path.name.removesuffix(".patch") for path in sorted(folder.iterdir())[1:]]
    consistent(layout, "mine", tree)
    written = git(layout.checkout("mine"), "log", "--format=%an %ae %at %s", "tunefork/base..")
    assert written == git(world.upstream, "log", "--format=%an %ae %at %s", "v1..").replace("[PATCH-like] ", "")  # as git am reads it, too


@pytest.mark.slow
def test_a_history_onto_the_end_of_a_known_series(world: World) -> None:
    three(world)
    before = files(world)
    (world.root.parent / "in").mkdir()
    text = b"From: B <b@c>\nSubject: [PATCH v2 1/1] Four\n\nWhy.\n---\nv2: a note\n f | 1 +\n\n--- a/f.txt\n+++ b/f.txt\n@@ -0,0 +1 @@\n+four\n-- \n2.39\n"
    for name in ("four", "one"):
        (world.root.parent / "in" / f"{name}.patch").write_bytes(text.replace(b"f.txt", name.encode() + b".txt"))
    done = import_folder(world.layout, world.root.parent / "in", "up")
    assert world.names() == ["one", "two", "three", "four", "one-2"] and [each.subject for each in done.patches] == ["Four", "Four"]
    assert {name: files(world)[name] for name in ("one.patch", "two.patch")} == {name: before[name] for name in ("one.patch", "two.patch")}
    consistent(world.layout, "up", done.tree)


def test_a_quilt_series(world: World) -> None:
    applied(world)
    first = b"Description: Change b\n It has a reason.\n .\n Two, even.\nAuthor: Q <q@r>\nLast-Update: 2024-02-03\n\n--- x/b.py\t2020\n+++ y/b.py\t2020\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    return 11\n"
    second = b"Index: a.py\n===\n--- a/a.py\n+++ b/a.py\n@@ -11,3 +11,3 @@\n line 8\n-line 9\n+nine\n line 10\n--- a/pkg/c.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-value = 3\n"
    folder = quilt(world.root.parent / "debian", first=first, second=second)
    done = import_folder(world.layout, folder, "up")
    assert [each.subject for each in done.patches] == ["Change b", "second"] and done.patches[1].notes == ("a.py: hunk 1 is 3 lines higher",)
    assert not (world.checkout / "pkg").exists() and b"return 11" in (world.checkout / "b.py").read_bytes()
    assert git(world.checkout, "log", "-2", "--format=%B", "--skip=1").startswith("Change b\n\nIt has a reason.\n\nTwo, even.")
    consistent(world.layout, "up", done.tree)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hunk", "why"),
    [
        (b"@@ -1,2 +1,2 @@\n line 8\n-line 99\n+x\n", "hunk 1 (at line 1) does not match: its 2 lines are nowhere in the file"),
        (b"@@ -7 +7 @@\n-same\n+x\n", "hunk 1 (at line 7) fits at 2 places (lines 61, 62), and nothing says which is meant"),
    ],
)
def test_what_does_not_apply_changes_nothing(world: World, hunk: bytes, why: str) -> None:
    three(world)
    world.commit({"a.py": (world.checkout / "a.py").read_bytes() + b"same\nsame\n"}, "Four")
    export(world.layout, "up")
    before = files(world)
    good = b"--- a/new.txt\n+++ b/new.txt\n@@ -0,0 +1 @@\n+x\n"
    folder = quilt(world.root.parent / "in", good=good, bad=b"--- a/a.py\n+++ b/a.py\n" + hunk)
    with pytest.raises(PatchConflict) as caught:
        import_folder(world.layout, folder, "up")
    assert caught.value.message == f"bad.diff does not apply to up v1 and the 1 before it: a.py: {why}" and "--base" in caught.value.remedy
    assert files(world) == before and not (world.checkout / "new.txt").exists()


def test_mail_that_was_sent(world: World) -> None:
    applied(world)
    body = "In Größe.\n\n---\n--- a/latin.txt\n+++ b/latin.txt\n@@ -1,2 +1,2 @@\n caf\xe9\n-line\n+LINE\n".encode("latin-1")
    head = b"From nobody Mon Sep 17 00:00:00 2001\nFrom: =?utf-8?q?J=C3=BCrgen?= <j@k>\nSubject: =?utf-8?b?R3LDtsOfZQ==?=\nDate: Tue, 2 Jan 2024 00:00:00 +0100\n"
    folder = world.root.parent / "in"
    folder.mkdir()
    (folder / "mail.eml").write_bytes(head + b"Content-Type: text/plain; charset=latin-1\nContent-Transfer-Encoding: quoted-printable\n\n" + quopri.encodestring(body))
    done = import_folder(world.layout, folder, "up")
    assert git(world.checkout, "log", "-1", "--format=%an|%ae|%at|%B") == "Jürgen|j@k|1704150000|Größe\n\nIn Größe."
    assert (world.checkout / "latin.txt").read_bytes() == "caf\xe9\nLINE\n".encode("latin-1")
    consistent(world.layout, "up", done.tree)


def test_a_description_that_git_am_would_misread(world: World) -> None:
    applied(world)
    text = b"Subject of it\n\nFrom: the upstream list\nSee below.\n--- x/y\n\n--- a/n\n+++ b/n\n@@ -0,0 +1 @@\n+x\n"
    done = import_folder(world.layout, quilt(world.root.parent / "in", a=text), "up")
    assert git(world.checkout, "log", "-1", "--format=%B") == "Subject of it\n\n From: the upstream list\nSee below.\n --- x/y"
    consistent(world.layout, "up", done.tree)


@pytest.mark.parametrize(
    ("kind", "message", "remedy"),
    [("gone", "is no folder", "name the folder"), ("empty", "holds no patch", "git format-patch"), ("line", "and there is no such file", "delete its line"),
     ("option", "cannot take a.diff -F2", "only -pN and -R"), ("prose", "no file of it holds a diff", "name the folder")],
)  # fmt: skip
def test_a_folder_that_is_none(world: World, tmp_path: Path, kind: str, message: str, remedy: str) -> None:
    folder = tmp_path / "in"
    if kind != "gone":
        folder.mkdir()
    if kind in ("line", "option"):
        (folder / "series").write_text("gone.diff\n" if kind == "line" else "a.diff -F2\n")
    if kind == "prose":
        (folder / "a.patch").write_text("only words\n")
    with pytest.raises(BadInput, match=message) as caught:
        import_folder(world.layout, folder, "up")
    assert remedy in caught.value.remedy


def test_a_new_upstream_needs_a_base(world: World, tmp_path: Path) -> None:
    folder = quilt(tmp_path / "in", a=b"--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+x\n")
    for words, message in (({}, "needs to know what the patches go onto"), ({"base": "nope", "repository": str(world.upstream)}, "has no nope"),
                           ({"base": "v1", "repository": str(tmp_path / "none")}, "there is no git repository")):  # fmt: skip
        with pytest.raises(BadInput, match=message):
            import_folder(world.layout, folder, "other", **words)
    with pytest.raises(BadInput, match="up is pinned to v1"):
        import_folder(world.layout, folder, "up", base="v2")
    assert not world.layout.checkout("other").exists() and b"other" not in world.layout.pins.read_bytes()


def test_a_dry_run_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    world = make(tmp_path / "world")
    folder = quilt(tmp_path / "in", a=b"--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+x\n")
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    pins = world.layout.pins.read_bytes()
    words = ["patch", "import", str(folder), "--upstream", "new", "--repo", str(world.upstream), "--base", "v1", "--json"]
    assert main([*words, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["dry_run"] is True and world.layout.pins.read_bytes() == pins
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["patches"] == [{"name": "a", "file": "a.diff", "subject": "a", "notes": []}]
    assert b"[upstreams.new]" in world.layout.pins.read_bytes() and world.layout.pins.read_bytes().startswith(pins)
    assert main(["apply", "new"]) == 0 and main(["status"]) == 0


@pytest.mark.parametrize(("file", "name"), [("0001-Fix-x.patch", "0001-Fix-x"), ("sub/a b.diff", "sub-a-b"), ("a..b.patch", "a.b"), ("x.lock.patch", "x-lock"), (".patch", "patch")])
def test_names_are_kept_where_they_can_be(file: str, name: str) -> None:
    assert fresh_name(file, set()) == name and fresh_name(file, {name}) == f"{name}-2"
    assert os.sep not in name


def test_a_mailbox_of_several_is_several_patches(world: World, tmp_path: Path) -> None:
    for at in (1, 2):
        (world.upstream / "b.py").write_bytes(b"%d\n" % at)
        git(world.upstream, "commit", "--quiet", "--all", "-m", f"Number {at}\n\n{BODY}")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "all.mbox").write_text(git(world.upstream, "format-patch", "--stdout", "v1") + "\n")
    assert [(each.subject, each.name) for each in import_folder(world.layout, tmp_path / "in", "up").patches] == [("Number 1", "number-1"), ("Number 2", "number-2")]


def test_a_mail_that_another_ones_message_quotes_is_no_mail(world: World, tmp_path: Path) -> None:
    """git am splits there, too, and stops at the first half."""
    folder, quoted = tmp_path / "in", b"From " + b"1" * 40 + b" Mon Sep 17 00:00:00 2001\n"
    folder.mkdir()
    mail = quoted + b"From: A <a@b>\nDate: Tue, 2 Jan 2024 00:00:00 +0100\nSubject: s\n\nIt said:\n"
    change = b"\n---\ndiff --git a/b.py b/b.py\n--- a/b.py\n+++ b/b.py\n@@ -2 +2 @@\n-    return 1\n+    return 3\n"
    (folder / "1.mbox").write_bytes(mail + quoted + change)
    with pytest.raises(BadInput, match=r"mail 1 \(line 1\) holds no diff"):
        import_folder(world.layout, folder, "up")
    (folder / "1.mbox").write_bytes(mail + b" " + quoted + change)  # as the remedy says
    assert [each.subject for each in import_folder(world.layout, folder, "up", dry_run=True).patches] == ["s"]


def test_files_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    for name in ("10", "2", "1", "0003-x.patch"):
        (tmp_path / name).write_bytes(b"Subject\n\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-only\n+more\n")
    assert [each.file for each in read_folder(tmp_path)[0]] == ["0003-x.patch", "1", "2", "10"]


ADDED = b"diff --git a/g b/g\nindex %s..%s 100644\n--- a/g\n+++ b/g\n@@ -1,0 +2 @@ one\n+between\n"


def test_added_lines_without_context_go_where_the_result_is_the_named_one(world: World) -> None:
    """A diff of -U0: git am adds such lines at the end of the file with exit code 0."""
    git(world.upstream, "checkout", "--quiet", "-b", "other")
    (world.upstream / "g").write_bytes(b"one\ntwo\n")
    git(world.upstream, "add", "g")
    git(world.upstream, "commit", "--quiet", "-m", "g")
    old, new = (diff.blob_id(data)[:7].encode() for data in (b"one\ntwo\n", b"one\nbetween\ntwo\n"))
    made = onto(Git(world.upstream), "HEAD", [read("x", "x.patch", ADDED % (old, new))], ["x"])
    assert git(world.upstream, "show", f"{made[0].commit}:g") == "one\nbetween\ntwo"
    for each in ((old, b"1234567"), (b"1234567", new), (old[:4], new)):
        with pytest.raises(Unfit, match="which git am adds at the end of the file"):
            onto(Git(world.upstream), "HEAD", [read("x", "x.patch", ADDED % each)], ["x"])


def test_a_binary_patch_is_not_taken_back(tmp_path: Path) -> None:
    (tmp_path / "series").write_text("x.diff -R\n")
    (tmp_path / "x.diff").write_bytes(b"diff --git a/g b/g\nindex 1234567..7654321 100644\nGIT binary patch\nliteral 0\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n")
    with pytest.raises(BadInput, match=r"x.diff:1: g is binary, and its way back \(-R\)"):
        read_folder(tmp_path)


@pytest.mark.parametrize("path", ["../evil", "pkg/../../evil", ".git/hooks/x", "sub/.GIT/config", "x//y", "git~1/x"])
def test_a_path_that_git_does_not_hold_changes_nothing(world: World, tmp_path: Path, path: str) -> None:
    applied(world)
    text = f"Subject\n\ndiff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+evil\n"
    with pytest.raises(BadInput, match="a path that git does not check out"):
        import_folder(world.layout, quilt(tmp_path / "in", bad=text.encode()), "up")
    assert world.names() == [] and apply(world.layout, "up").changed == 0


@pytest.mark.slow
def test_an_import_that_fails_or_is_a_trial_leaves_no_checkout(world: World, tmp_path: Path) -> None:
    git(world.upstream, "commit", "--quiet", "--allow-empty", "-m", "Elsewhere")
    (world.upstream / "b.py").write_bytes(b"other\n")
    git(world.upstream, "commit", "--quiet", "--all", "-m", f"Other\n\n{BODY}")
    git(world.upstream, "format-patch", "--quiet", "-o", str(tmp_path / "in"), "HEAD^")
    with pytest.raises(PatchConflict):
        import_folder(world.layout, tmp_path / "in", "new", base="main", repository=str(world.upstream))
    assert not world.layout.checkout("new").exists()
    import_folder(world.layout, tmp_path / "in", "new", base="v1", repository=str(world.upstream), dry_run=True)
    assert not world.layout.checkout("new").exists()
    done = import_folder(world.layout, tmp_path / "in", "new", base="main^", repository=str(world.upstream))
    consistent(world.layout, "new", done.tree)


def test_a_series_reads_nothing_outside_its_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.diff"
    outside.write_bytes(b"@@ -1 password=topsecret\n")
    for line in ("../outside.diff", str(outside), "link.diff"):
        folder = tmp_path / "q"
        folder.mkdir(exist_ok=True)
        (folder / "link.diff").unlink(missing_ok=True)
        (folder / "link.diff").symlink_to(outside)
        (folder / "series").write_text(f"{line}\n")
        with pytest.raises(BadInput, match="lies outside") as caught:
            read_folder(folder)
        assert "topsecret" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".lzma"])
def test_a_patch_that_unpacks_to_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(foreign, "MOST_BYTES", 1 << 20)
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE)}[ending]
    path = tmp_path / f"b.diff{ending}"
    path.write_bytes(pack(b"x" * (2 << 20)))
    with pytest.raises(BadInput, match="more than 1 MiB"):
        foreign.content(path)
    path.write_bytes(pack(b"x" * 100))
    assert foreign.content(path) == b"x" * 100
