"""Small patches of our own making, one for each kind that a team's folder may hold: the base they go onto, and who takes them.

expect: "tree" where ours must be the tool's tree; "stop" where it must refuse, whatever the tool does; ``says``: what the refusal names.
"""

from __future__ import annotations

import base64
import lzma
import zlib
from dataclasses import dataclass, field

BASE: dict[str, tuple[int, bytes]] = {
    "f": (0o644, b"".join(b"line %d\n" % n for n in range(1, 31))),
    "g": (0o644, b"only\n"),
    "run": (0o755, b"#!/bin/sh\necho\n"),
    "crlf": (0o644, b"one\r\ntwo\r\nthree\r\n"),
    "blob": (0o644, bytes(range(256))),
    "d/h": (0o644, b"def a():\n    return 1\n\n\ndef b():\n    return 1\n\n\ndef c():\n    return 1\n"),
    "noeol": (0o644, b"x\ny"),
    "sp ace": (0o644, b"blank\n"),
}
GIT, QUILT = "git am", "quilt"
MAIL = b"From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: A B <a@b.c>\nDate: Tue, 2 Jan 2024 00:00:00 +0100\nSubject: [PATCH] %s\n\nWhy.\n---\n f | 1 +\n\n%s-- \n2.39\n\n"


@dataclass(frozen=True)
class Kind:
    """A folder of patches. tools: whose tree it is compared with.  series: the quilt series, for those."""

    name: str
    files: dict[str, bytes]
    expect: str = "tree"
    tools: tuple[str, ...] = (GIT,)
    says: str = ""
    series: str = field(default="")


def mail(name: str, diff: bytes, expect: str = "tree", says: str = "") -> Kind:
    return Kind(name, {"0001-x.patch": MAIL % (name.encode(), diff)}, expect, (GIT,), says)


def quilted(name: str, text: bytes, expect: str = "tree", says: str = "", option: str = "", file: str = "x.diff") -> Kind:
    return Kind(name, {file: text, "series": f"{file} {option}".strip().encode() + b"\n"}, expect, (QUILT,), says)


def edit(path: bytes, old: bytes = b"a/", new: bytes = b"b/", *, end: bytes = b"\n") -> bytes:
    """A change of line 3 of f, or of another file's second line, without git's header."""
    return end.join([b"--- " + old + path, b"+++ " + new + path, b"@@ -2,3 +2,3 @@", b""]) + b" line 2\n-line 3\n+three\n line 4\n"


def packed(data: bytes) -> bytes:
    """One block of a binary patch that holds the whole content; git's own form."""
    deflated, lines = zlib.compress(data), []
    for at in range(0, len(deflated), 52):
        part = deflated[at : at + 52]
        letter = bytes([len(part) + (64 if len(part) <= 26 else 70)])
        lines.append(letter + base64.b85encode(part, pad=True) + b"\n")
    return b"literal %d\n" % len(data) + b"".join(lines) + b"\n"


LOW = b"@@ -20,3 +20,3 @@\n line 20\n-line 21\n+twenty-one\n line 22\n"
G = b"@@ -1 +1 @@\n-only\n+more\n"
NEW = b"diff --git a/n b/n\nnew file mode %s\nindex 0000000..1111111\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+n\n"
DATED = b"--- a/g\t2020-01-01 00:00:00.000000000 +0000\n+++ b/g\t%s\n@@ -1 +0,0 @@\n-only\n"

KINDS = [
    # silently wrong until they were found
    mail("binary changed, not in the diff", b"diff --git a/blob b/blob\nindex c86626638e0bc8cf47ca49bb1525b40e9737ee64..1111111111111111111111111111111111111111 100644\nBinary files a/blob and b/blob differ\n", "stop", "--binary"),
    mail("binary new, not in the diff", b"diff --git a/nb b/nb\nnew file mode 100644\nindex 0000000..1111111\nBinary files /dev/null and b/nb differ\n", "stop", "--binary"),
    mail("binary beside text", b"diff --git a/g b/g\nindex 1..2 100644\n--- a/g\n+++ b/g\n" + G + b"diff --git a/blob b/blob\nindex c866266..1111111 100644\nBinary files a/blob and b/blob differ\n", "stop", "blob"),
    quilted("plain binary", b"--- a/g\n+++ b/g\n" + G + b"Binary files a/blob and b/blob differ\n", "stop", "blob"),
    quilted("plain binary, GNU's other words", b"--- a/g\n+++ b/g\n" + G + b"Files a/blob and b/blob differ\n", "stop", "blob"),
    mail("mode of the index line", b"diff --git a/run b/run\nindex 1111111..2222222 100644\n--- a/run\n+++ b/run\n@@ -1,2 +1,2 @@\n #!/bin/sh\n-echo\n+true\n"),
    mail("mode of the index line, the other way", b"diff --git a/g b/g\nindex 1111111..2222222 100755\n--- a/g\n+++ b/g\n" + G),
    mail("new mode on what has it", b"diff --git a/run b/run\nold mode 100644\nnew mode 100755\nindex 1111111..2222222\n--- a/run\n+++ b/run\n@@ -1,2 +1,2 @@\n #!/bin/sh\n-echo\n+true\n"),
    mail("text between hunks", b"diff --git a/f b/f\n" + edit(b"f") + b"hello\n" + LOW, "stop", "belongs to no file"),
    mail("blank line between hunks", b"diff --git a/f b/f\n" + edit(b"f") + b"\n" + LOW, "stop", "belongs to no file"),
    mail("blank line before the first hunk", b"diff --git a/f b/f\n" + edit(b"f").replace(b"@@ -2", b"\n@@ -2"), "stop", "no change"),
    mail("hunk longer than it says", b"diff --git a/f b/f\n" + edit(b"f") + b"+lost\n", "stop", "longer than"),
    quilted("blank line between hunks, quilt", edit(b"f") + b"\n" + LOW, "stop", "belongs to no file"),
    quilted("text before the first hunk, quilt", edit(b"f").replace(b"@@ -2", b"hello\n@@ -2")),
    quilted("blank line before the first hunk, quilt", edit(b"f").replace(b"@@ -2", b"\n@@ -2")),
    quilted("context diff", b"*** a/f\n--- b/f\n***************\n*** 2,4 ****\n  line 2\n! line 3\n  line 4\n--- 2,4 ----\n  line 2\n! three\n  line 4\n"),
    quilted("context diff, added and removed", b'*** a/f\t2020\n--- b/f\t2020\n***************\n*** 1,6 ****\n  line 1\n  line 2\n- line 3\n  line 4\n  line 5\n  line 6\n--- 1,5 ----\n***************\n*** 19,24 ****\n--- 18,24 ----\n  line 19\n  line 20\n  line 21\n+ more\n  line 22\n  line 23\n  line 24\n'),
    quilted("ed-style diff", b"3c3\n< line 3\n---\n> three\n", "stop", "without context"),
    quilted("diff -N deletion", b"diff -N -u a/g b/g\n" + DATED % b"1970-01-01 00:00:00.000000000 +0000"),
    quilted("diff -N deletion, east", b"diff -N -u a/g b/g\n" + DATED % b"1970-01-01 01:00:00.000000000 +0100"),
    quilted("diff -N deletion, west", b"diff -N -u a/g b/g\n" + DATED % b"1969-12-31 19:00:00.000000000 -0500"),
    quilted("emptied, not deleted", DATED % b"2021-01-01 00:00:00.000000000 +0000"),
    mail("diff -N deletion, mail", DATED % b"1970-01-01 00:00:00.000000000 +0000"),
    # refused until they were found right
    mail("stated line decides", b"diff --git a/d/h b/d/h\nindex 1111111..2222222 100644\n--- a/d/h\n+++ b/d/h\n@@ -6,3 +6,3 @@\n-    return 1\n+    return 2\n \n \n"),
    mail("shifted and ambiguous", b"diff --git a/d/h b/d/h\nindex 1111111..2222222 100644\n--- a/d/h\n+++ b/d/h\n@@ -3,3 +3,3 @@\n-    return 1\n+    return 2\n \n \n", "stop", "fits at 2 places"),
    mail("other prefixes", b"diff --git c/g i/g\nindex 1111111..2222222 100644\n--- c/g\n+++ i/g\n" + G),
    mail("folders as prefixes", b"diff --git old/g new/g\n--- old/g\n+++ new/g\n" + G),
    quilted("-p0", b"diff --git g g\n--- g\n+++ g\n" + G, option="-p0"),
    quilted("-p2", b"diff --git x/y/g x/z/g\n--- x/y/g\n+++ x/z/g\n" + G, option="-p2"),
    quilted("-p2 rename", b"diff --git q/a/g q/b/gg\nsimilarity index 100%\nrename from a/g\nrename to b/gg\n", option="-p2"),
    quilted("-p0 plain", b"--- g.orig\n+++ g\n" + G, option="-p0"),
    quilted("orig", b"--- a/g.orig\n+++ a/g\n" + G),
    quilted("new beside it", b"--- a/g\n+++ a/g.new\n" + G),
    mail("CRs on headers", b"diff --git a/g b/g\r\n--- a/g\r\n+++ b/g\r\n@@ -1 +1 @@\r\n-only\n+more\n"),
    quilted("CRs everywhere, quilt", (b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G).replace(b"\n", b"\r\n")),
    quilted("CRs everywhere, new file", (NEW % b"100644").replace(b"\n", b"\r\n")),
    mail("CRs of the file", b"diff --git a/crlf b/crlf\n--- a/crlf\n+++ b/crlf\n@@ -1,3 +1,3 @@\n one\r\n-two\r\n+TWO\r\n three\r\n"),
    mail("mode 100664", NEW % b"100664"),
    mail("mode 100775", NEW % b"100775"),
    mail("mode 100600", NEW % b"100600"),
    mail("two files of one name in turn", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G + b"diff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-more\n+most\n"),
    mail("names swapped", b"diff --git a/f b/g\nsimilarity index 100%\nrename from f\nrename to g\ndiff --git a/g b/f\nsimilarity index 100%\nrename from g\nrename to f\n"),
    mail("a name with a blank", b"diff --git a/sp ace b/sp ace\n--- a/sp ace\t\n+++ b/sp ace\t\n@@ -1 +1 @@\n-blank\n+space\n"),
    mail("no end of line", b"diff --git a/noeol b/noeol\n--- a/noeol\n+++ b/noeol\n@@ -1,2 +1,2 @@\n x\n-y\n\\ No newline at end of file\n+z\n"),
    mail("copy with a change", b"diff --git a/g b/gg\nsimilarity index 50%\ncopy from g\ncopy to gg\n--- a/g\n+++ b/gg\n" + G),
    mail("a raw byte in a mode line", b"diff --git a/g b/g\nold mode 1006\xff4\nnew mode 100755\n", "stop", "octal"),
    mail("a mode without digits", NEW % b"", "stop", "octal"),
    mail("a combined diff", b"diff --cc g\nindex 1,2..3\n--- a/g\n+++ b/g\n@@@ -1,1 -1,1 +1,1 @@@\n--only\n++more\n", "stop", "combined"),
    mail("a hunk number of 5000 digits", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -" + b"9" * 5000 + b" +1 @@\n-only\n+more\n", "stop", "hunk header"),
    # found by the readings of 2026-11-30
    mail("binary deleted", b"diff --git a/blob b/blob\ndeleted file mode 100644\nindex c86626638e0bc8cf47ca49bb1525b40e9737ee64.." + b"0" * 40 + b"\nGIT binary patch\n" + packed(b"") + packed(bytes(range(256)))),
    mail("binary with a damaged way back, which git drops with exit code 0", b"diff --git a/blob b/blob\ndeleted file mode 100644\nindex c86626638e0bc8cf47ca49bb1525b40e9737ee64.." + b"0" * 40 + b"\nGIT binary patch\n" + packed(b"") + packed(bytes(range(256))).replace(b"\nz", b"\nzz", 1), "stop", "cannot be unpacked"),
    mail("deleted without its lines, of another content", b"diff --git a/g b/g\ndeleted file mode 100644\nindex 1111111..0000000\n", "stop", "holds more than"),
    mail("binary deleted without its data, another one", b"diff --git a/blob b/blob\ndeleted file mode 100644\nindex 1111111..0000000\nBinary files a/blob and /dev/null differ\n", "stop", "holds more than"),
    mail("added lines without context", b"diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -10,0 +11 @@ line 10\n+new\n", "stop", "without any around them"),
    mail("one digit of a hash is no proof", b"diff --git a/d/h b/d/h\nindex %b..2 100644\n--- a/d/h\n+++ b/d/h\n@@ -7,0 +8 @@\n+new\n" % b"f", "stop", "without any around them"),
    Kind("a coloured one beside a good one", {"0001-x.patch": MAIL % (b"x", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G), "0002-y.patch": MAIL % (b"y", b"\x1b[1mdiff --git a/f b/f\x1b[m\n\x1b[1m--- a/f\x1b[m\n\x1b[36m@@ -1 +1 @@\x1b[m\n")}, "stop", (GIT,), "0002-y.patch holds no diff"),
    Kind("a quoted one beside a good one", {"0001-x.patch": MAIL % (b"x", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G), "0002-y.patch": MAIL % (b"y", b"| diff --git a/f b/f\n| --- a/f\n| @@ -1 +1 @@\n")}, "stop", (GIT,), "0002-y.patch holds no diff"),
    Kind("several mails in one file", {"all.mbox": MAIL % (b"one", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G) + MAIL % (b"two", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-more\n+most\n")}),
    quilted("-R", b"--- a/g\n+++ b/g\n@@ -1 +1 @@\n-more\n+only\n", option="-R"),
    quilted("-p0 -R", b"--- g\n+++ g\n@@ -1 +1 @@\n-more\n+only\n", option="-p0 -R"),
    quilted("-p 0", b"--- g\n+++ g\n" + G, option="-p 0"),
    quilted("-R of a new file", b"--- /dev/null\n+++ b/g\n@@ -0,0 +1 @@\n+only\n", option="-R"),
    quilted("-R of a mode and a name", b"diff --git a/n b/run\nsimilarity index 100%\nold mode 100644\nnew mode 100755\nrename from n\nrename to run\n", option="-R"),
    quilted(".lzma", lzma.compress(b"--- a/g\n+++ b/g\n" + G, lzma.FORMAT_ALONE), file="x.diff.lzma"),
    quilted("zstd", b"\x28\xb5\x2f\xfd\x04\x00", "stop", "packed", file="x.diff.zst"),
    quilted("a submodule, which patch makes a file of", b"diff --git a/s b/s\nnew file mode 160000\nindex 0000000..1111111\n--- /dev/null\n+++ b/s\n@@ -0,0 +1 @@\n+Subproject commit " + b"1" * 40 + b"\n", "stop", "submodule"),
    # found by mutations beside patch
    quilted("names swapped, which patch does one after the other", b"diff --git a/f b/g\nsimilarity index 100%\nrename from f\nrename to g\ndiff --git a/g b/f\nsimilarity index 100%\nrename from g\nrename to f\n", "stop", "another change of it"),
    quilted("git header with dates", b"diff --git a/g b/g\n" + DATED % b"1970-01-01 00:00:00 +0000"),
    quilted("diff -N deletion, a zone that patch does not know", DATED % b"1970-01-01 07:00:30.000040000 +0000"),
    quilted("diff -N deletion, half a date", DATED % b"1970-01-1 00:00:00 +0000", "stop", "may say that there is no file"),
    quilted("copy without its lines", b"diff --git a/g b/gg\nsimilarity index 50%\ncopy from g\ncopy to gg\n--- a/g\n+++ b/gg\n-only\n+more\n", "stop", "no change behind them"),
    quilted("a git header that names two files", b"diff --git a/f b/f\n--- a/g\n+++ b/g\n" + G, "stop", "name other files"),
    quilted("context diff in the description", b"*** a/f\n***************\n*** 2,4 ****\n  line 2\n! line 3\n  line 4\n--- 2,4 ----\n  line 2\n! three\n  line 4\n--- a/g\n+++ b/g\n" + G, "stop", "context diff"),
    quilted("indented", b"Text.\n  --- a/f\n  +++ b/f\n  @@ -2 +2 @@\n  -line 2\n  +two\n--- a/g\n+++ b/g\n" + G, "stop", "indented diff"),
    quilted("CRs on some lines of a header", b"diff --git a/g b/g\r\n--- a/g\r\n+++ b/g\n" + G, "stop", "CR LF"),
    quilted("CRs and no end of line", b"--- a/n\r\n+++ b/n\r\n@@ -0,0 +1 @@\r\n+n\r\n\\ No newline at end of file\r\n"),
    quilted("two names of a new file", b"--- a/n\n+++ b/longer\n@@ -0,0 +1 @@\n+n\n"),
    quilted("+++ before ---", b"diff --git a/g b/g\n+++ b/g\t1970-01-01 00:00:00 +0000\n--- a/g\t2020-01-01 00:00:00 +0000\n@@ -1 +0,0 @@\n-only\n", "stop", "in another order"),
    quilted("mode told twice", b"diff --git a/n b/n\nnew file mode 100755\nindex 0000000..1111111 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+n\n", "stop", "told twice"),
    mail("binary data without an index line, which git drops with exit code 0", b"diff --git a/blob b/blob\nGIT binary patch\n" + packed(b"") + packed(bytes(range(256))), "stop", "without an `index` line"),
    Kind("a bundle", {"0001-x.patch": b"# v2 git bundle\n-" + b"1" * 40 + b" x\n\nPACK\0\0"}, "stop", (GIT,), "git bundle"),
    mail("a context diff in mail", b"*** a/g\n--- b/g\n***************\n*** 1 ****\n! only\n--- 1 ----\n! more\n", "stop", "context diff"),
    quilted("a hunk header whose number begins with 0", b"--- a/g\t2020-01-01 00:00:00.000000000 +0000\n+++ b/g\t1970-01-01 01:00:00.000000000 +0100\n@@ -1 +00,0 @@\n-only\n", "stop", "begins with 0"),
    quilted("a carriage return at the beginning of a name", b"--- a/\rn\n+++ b/longer\n@@ -0,0 +1 @@\n+n\n", "stop", "control character"),
    # found by the readings of the same day, and by a million mutations
    Kind("the file ends in the middle of a line", {"0001-x.patch": (MAIL % (b"x", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G)).partition(b"re\n-- ")[0]}, "stop", (GIT,), "middle of a line"),
    quilted("the file ends in the middle of a line, quilt", b"--- a/g\n+++ b/g\n@@ -1 +1 @@\n-only\n+mo", "stop", "middle of a line"),
    quilted("a context diff that ends in the middle of a line", b"*** a/g\n--- b/g\n***************\n*** 1 ****\n! only\n--- 1 ----\n! mo", "stop", "middle of a line"),
    quilted("the folder's own name in a path", b"--- ./g.orig\n+++ ./g\n" + G, option="-p0"),
    quilted("the folder's own name within a path", b"--- a/./g\n+++ b/./g\n" + G),
    quilted("lines at the top, without any around them", b"--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+zero\n"),
    quilted("lines at the top, without any around them, git header", b"diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+zero\n"),
    quilted("a line without an end in the middle of a file", b"--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+zero\n\\ No newline at end of file\n", "stop", "goes on behind it"),
    Kind("a patch that is named twice", {"x.diff": b"--- a/g\n+++ b/g\n" + G, "series": b"x.diff\nx.diff\n"}, "stop", (QUILT,), "already"),
    Kind("a series with a line feed of another kind in a comment", {"x.diff": b"--- a/g\n+++ b/g\n" + G, "series": b"# a\x0cb \xc2\x85 c\nx.diff # \xe2\x80\xa8 d\n"}, "tree", (QUILT,)),
    quilted("a byte order mark", b"\xef\xbb\xbf--- a/g\n+++ b/g\n" + G),
    Kind("an editor's backup, and a patch that is switched off", {name: MAIL % (b"x", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G) for name in ("0001-x.patch", "0001-x.patch~", "0002-x.patch.orig", "0003-x.patch.disabled")}),
    Kind("b4's mailbox", {"v2_x.mbx": MAIL % (b"x", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G)}),
    Kind("a browser's name, in capitals", {"A.PATCH": MAIL % (b"x", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n" + G), "b.txt": MAIL % (b"x", b"diff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-more\n+most\n")}),
    quilted("a line about a mode behind the names", b"diff --git a/g b/g\n--- a/g\n+++ b/g\nnew mode 100755\n" + G, "stop", "about a mode"),
    quilted("a line about a mode behind the index line", b"diff --git a/g b/g\nindex 1111111..2222222 100755\nnew mode 100755\n--- a/g\n+++ b/g\n" + G, "stop", "about a mode"),
    quilted("a mode without a blank before it", b"diff --git a/n b/n\nnew file mode100755\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+n\n", "stop", "octal"),
    quilted("a rename whose header names another file", b"diff --git a/g b/f\nsimilarity index 100%\nrename from g\nrename to -f\n", "stop", "name other files"),
    quilted("half of a file's names behind a copy", b"diff --git a/g b/gg\nsimilarity index 50%\ncopy from g\ncopy to gg\n7\n--- a/g\n-only\n", "stop", "without its other one"),
    mail("binary data of a size that is no number", b"diff --git a/blob b/blob\ndeleted file mode 100644\nindex c86626638e0bc8cf47ca49bb1525b40e9737ee64.." + b"0" * 40 + b"\nGIT binary patch\n" + packed(b"").replace(b"literal 0", b"literal \t0") + packed(bytes(range(256))), "stop", "cannot be unpacked"),
]

# What quilt made of them (test_kinds.py makes them again where it is installed).
TREES = {
    "text before the first hunk, quilt": "dc6bcef2c4d15582b3ef656414167c44674f74e7",
    "blank line before the first hunk, quilt": "dc6bcef2c4d15582b3ef656414167c44674f74e7",
    "context diff": "dc6bcef2c4d15582b3ef656414167c44674f74e7",
    "context diff, added and removed": "48d4b261a2b70d70a72aa7966195d17a27b90ab9",
    "diff -N deletion": "1cea62ec838cbf291a65c80326fc4a822842bdc5",
    "diff -N deletion, east": "1cea62ec838cbf291a65c80326fc4a822842bdc5",
    "diff -N deletion, west": "1cea62ec838cbf291a65c80326fc4a822842bdc5",
    "emptied, not deleted": "6827eaa74ff39cfec0a57ee859f848313a44a76c",
    "-p0": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "-p2": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "-p2 rename": "5947c4d12d54d1efe37230e4382708224c25482b",
    "-p0 plain": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "orig": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "new beside it": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "CRs everywhere, quilt": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "CRs everywhere, new file": "ac13080883dd0dacf64fba6e25f2f4b87b1aa516",
    "-R": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "-p0 -R": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "-p 0": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "-R of a new file": "1cea62ec838cbf291a65c80326fc4a822842bdc5",
    "-R of a mode and a name": "6660b68c94f735bd68670d75f86909700d7583b9",
    ".lzma": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "git header with dates": "1cea62ec838cbf291a65c80326fc4a822842bdc5",
    "diff -N deletion, a zone that patch does not know": "1cea62ec838cbf291a65c80326fc4a822842bdc5",
    "CRs and no end of line": "a14f844e1bf5b75059c5260fceceaa2f8d93507a",
    "the folder's own name in a path": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "the folder's own name within a path": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "lines at the top, without any around them": "ce994afa953acf5c9f8a062bcc47e9a901a26bd6",
    "lines at the top, without any around them, git header": "ce994afa953acf5c9f8a062bcc47e9a901a26bd6",
    "a series with a line feed of another kind in a comment": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "a byte order mark": "d0776e5be9fecb1eff5d5de30a04d902c8d13ae8",
    "two names of a new file": "ac13080883dd0dacf64fba6e25f2f4b87b1aa516",
}
