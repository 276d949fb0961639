"""Mails, and descriptions of other tools, in the spellings that people and programs have; each goes before a diff."""

from __future__ import annotations

DATE = b"Date: Tue, 2 Jan 2024 00:00:00 +0100\n"
ME = b"From: A B <a@x.y>\n"
MAILS = {
    "plain": ME + DATE + b"Subject: [PATCH] s\n\nbody   \n\n\n\nmore\n",
    "address before the name": b"From: <a@x.y> A B\n" + DATE + b"Subject: s\n\nb\n",
    "name in brackets": b"From: a@x.y (A B)\n" + DATE + b"Subject: s\n\nb\n",
    "no name": b"From: a@x.y\n" + DATE + b"Subject: s\n\nb\n",
    "empty address": b"From: John Doe <>\n" + DATE + b"Subject: s\n\nb\n",
    "quotes": b'From: "Doe, J. (AMD)" <a@x.y>\n' + DATE + b"Subject: s\n\nb\n",
    "ISO date": ME + b"Date: 2024-01-02 03:04:05 +0100\nSubject: s\n\nb\n",
    "seconds": ME + b"Date: 1700000000 +0100\nSubject: s\n\nb\n",
    "Latin-1 without charset": ME + DATE + b"Subject: caf\xe9\n\ncaf\xe9\n",
    "Latin-1 named": ME + DATE + b"Subject: s\nContent-Type: text/plain; charset=iso-8859-1\n\ncaf\xe9\n",
    "Latin-1 that says UTF-8": ME + DATE + b"Subject: s\nContent-Type: text/plain; charset=utf-8\n\ncaf\xe9\n",
    "Latin-1 name": b"From: Caf\xe9 <a@x.y>\n" + DATE + b"Subject: s\n\nb\n",
    "encoded words": b"From: =?iso-8859-1?q?Caf=E9?= <a@x.y>\n" + DATE + b"Subject: =?utf-8?b?R3LDtsOfZQ==?= =?utf-8?q?_x?=\n\nb\n",
    "a comma within an encoded name": b"From: =?UTF-8?q?J=2E=20=22Q=22=20=C3=9C=2C=20Jr=2E?= <a@x.y>\n" + DATE + b"Subject: s\n\nb\n",
    "in-body headers": ME + DATE + b"Subject: list\n\nFrom: C D <c@d.e>\nSubject: real\n\nb\n",
    "in-body [PATCH]": ME + DATE + b"Subject: x\n\n[PATCH] other\n\nb\n",
    "subject of many brackets": ME + DATE + b"Subject: Re: [ROCm] [PATCH v2] [X] Re: y\n\nb\n",
    "no subject": ME + DATE + b"\nfirst line\nsecond\n",
    "cut at a file name": ME + DATE + b"Subject: s\n\nbefore\n--- x/y\nafter\n",
    "From the ...": ME + DATE + b"Subject: s\n\nFrom the 2019 talk\nnote: it holds\n",
    "From the ..., first of a mailbox": b"From 1234 Mon Sep 17 00:00:00 2001\n" + ME + DATE + b"Subject: s\n\nx\n\nFrom the 2019 talk\nnote: it holds\n",
    "blanks at the beginning": ME + DATE + b"Subject: s\n\n\n  lead\nb\n",
    "folded": b"From: A\n B <a@x.y>\n" + DATE + b"Subject: [PATCH] one\n two\n\tthree\n\nb\n",
    "DEP-3 in the body": ME + DATE + b"Subject: s\n\nForwarded: no\nOrigin: z\n\nb\n",
    "name of 70 letters": b"From: " + b"Abcdef " * 10 + b"<a@x.y>\n" + DATE + b"Subject: s\n\nb\n",
    "hg": b"# HG changeset patch\n# User A B <a@x.y>\n# Date 1700000000 -3600\n# Node ID 12\nsubject\n\nb\n",
    "StGit": b"subject\n\nFrom: A B <a@x.y>\n" + DATE + b"\nb\n",
}
