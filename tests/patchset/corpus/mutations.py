"""Patches with a few of their bytes or lines changed: of mail, of entries of a quilt series, and of a mail's words."""

from __future__ import annotations

import random

from kinds import GIT, KINDS, MAIL, QUILT
from mails import MAILS

SEEDS = [next(iter(kind.files.values())) for kind in KINDS if kind.expect == "tree" and kind.tools == (GIT,)]
QUILTED = [kind.files["x.diff"] for kind in KINDS if kind.expect == "tree" and kind.tools == (QUILT,) and kind.files.get("series") == b"x.diff\n"]
QUILTED += [seed.partition(b"\n---\n")[2].replace(b"-- \n2.39\n", b"") for seed in SEEDS if b"GIT binary" not in seed]
SIMPLE = b"---\ndiff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-only\n+more\n-- \n2.39\n\n"
WORDED = [(MAIL % (b"x", b"")).partition(b"---\n")[0] + SIMPLE, *(text + b"\n" + SIMPLE for text in MAILS.values())]
PIECES = [b"\n", b"+", b"-", b" ", b"@@ -3,4 +3,4 @@\n", b"--- a/f\n", b"+++ b/f\n", b"diff --git a/f b/f\n", b"index 1..2 100755\n", b"new mode 100755\n",
          b"deleted file mode 100644\n", b"new file mode 100644\n", b"\\ No newline at end of file\n", b"\r", b"rename from f\n", b"rename to z\n", b"---\n", b"-- \n",
          b"Binary files a/f and b/f differ\n", b" line 20\n", b"/dev/null", b"a/", b"0", b"7", b"\t", b"\xff", b'"']  # fmt: skip
WORDS = [b"\n", b" ", b"\t", b"\r", b":", b",", b"<", b">", b"(", b")", b'"', b"\\", b"@", b"[", b"]", b"[PATCH]", b"[PATCH 1/2] ", b"Re: ", b"=?utf-8?q?=C3=9F?=",
         b"=?utf-8?b?w58=?=", b"=?x?q?a?=", b"=", b"=20", b"\xc3\x9f", b"\xdf", b".", b";", b"'", b"From: C D <c@d.e>\n", b"Subject: t\n", b"Date: 1700000000 +0100\n",
         b"Content-Type: text/plain; charset=iso-8859-1\n", b"Content-Transfer-Encoding: quoted-printable\n", b"Content-Transfer-Encoding: base64\n", b"---\n", b">From 1\n",
         b"From the\n", b"Signed-off-by: A <a@b>\n", b"-0500", b"1970", b"Cc: x@y\n", b"Index: ", b"diff -", b"#", b" \n", b"\n\n"]  # fmt: skip


def changed(draw: random.Random, data: bytes, first: int, last: int, pieces: list[bytes]) -> bytes:
    """The data with one change at a line of ``first`` to ``last``."""
    lines = data.split(b"\n")
    last = min(last, len(lines))
    at = draw.randrange(min(first, last - 1), last)
    match draw.randrange(8):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            other = draw.randrange(min(first, last - 1), last)
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines.insert(at, draw.choice(pieces).rstrip(b"\n"))
        case 4 if lines[at]:
            place = draw.randrange(len(lines[at]))
            lines[at] = lines[at][:place] + lines[at][place + 1 :]
        case 5:
            place = draw.randint(0, len(lines[at]))
            lines[at] = lines[at][:place] + draw.choice(pieces) + lines[at][place:]
        case 6:  # another number
            lines[at] = b"".join(bytes([draw.choice(b"0123456789")]) if 48 <= byte <= 57 and draw.random() < 0.3 else bytes([byte]) for byte in lines[at])
        case 7:
            lines = lines[:at] + lines[at + draw.randint(1, 3) :]
    return b"\n".join(lines)


def mutated(draw: random.Random, seeds: list[bytes] = SEEDS) -> bytes:
    """A patch of kinds.py, or the diff of one behind another's, changed at one to three places of its diff."""
    data = draw.choice(seeds)
    if draw.random() < 0.2:
        other = draw.choice(seeds)
        data = data.replace(b"-- \n2.39\n", b"") + (other.partition(b"\n---\n")[2] or other)
    head = data.find(b"\n---\n") + 1
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4))):
        data = changed(draw, data, data[:head].count(b"\n"), len(data), PIECES)
    return data


def reworded(draw: random.Random) -> bytes:
    """A mail, or another tool's description, changed at one to three places before its diff."""
    data = draw.choice(WORDED)
    for _ in range(draw.choice((1, 1, 2, 3))):
        data = changed(draw, data, 0, max(1, data.rpartition(b"\n---\ndiff --git ")[0].count(b"\n") + 1), WORDS)
    return data
