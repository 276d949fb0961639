"""Secrets in environments, command lines and what programs print: their names stay, their values do not.

A name is a secret's where one of its parts ends in KEY, TOKEN, SECRET or PASSWORD (HF_TOKEN, --api-key, VLLM_API_KEY, apiKey). Counts of tokens
are none: TOKENS and TOKENIZER are other words, and a short number under TOKEN is a length or an id. docs/decisions/0051 says where this holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

REDACTED = "<redacted>"
SHORT_NUMBER = 10  # digits: no secret is as short, and every length is shorter
LEAST = 6  # characters of a value that is looked for by itself: "1" and "auto" stand everywhere
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]+")
SECRET_PART = re.compile(r"\w*(KEYS?|TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?)|PASS|PAT|COOKIE|AUTHORIZATION")
ALONE = re.compile(r"(?i)-{0,2}(token|secret|password|passwd|passphrase|authorization|cookie|\w+(key|token|secret|password))")
"""A name of one word that is a secret's: `KeyError: ...` and `key: ...` are prose."""
BEFORE = r"(?<![A-Za-z0-9_.-])"  # a name begins where a word does: tried at every letter, a long word would take quadratic time
NAME = rf"{BEFORE}(?:--?)?[A-Za-z][A-Za-z0-9]*+(?:[_.-]++[A-Za-z0-9]++)*+"
NAMED = re.compile(r"(--?)?[A-Za-z_][\w.-]*")
BARE = r"[^\s,;\"'{}\[\]]+(?:,(?![\w.-]+[=:])[^\s,;\"'{}\[\]]+)*"
VALUE = rf"\"(?:[^\"\\]|\\.)*+(?:\"|$)|'(?:[^'\\]|\\.)*+(?:'|$)|\[(?:\"[^\"\n]{{0,500}}\"|'[^'\n]{{0,500}}'|[^\[\]\n\"'])*+\]|{BARE}"
GIVEN = re.compile(rf"(?P<head>(?P<quote>[\"']?)(?P<name>{NAME})(?P=quote)\s*[:=]\s*)(?P<value>{VALUE})")
IN_QUERY = re.compile(r"(?P<head>[?&](?P<name>[A-Za-z0-9_.-]++)=)(?P<value>[^\s&#\"']++)")
AFTER_OPTION = re.compile(rf"(?P<head>(?P<name>{BEFORE}--?[A-Za-z][A-Za-z0-9]*+(?:[_.-]++[A-Za-z0-9]++)*+)\s+)(?P<value>(?!-)(?:{VALUE}))")
IN_URL = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]{0,20}://(?:[^\s/@:'\"]{0,500}:(?!\d+/)(?=[^\s'\"]{0,500}@)|(?=[^\s/@:'\"]{8,500}@)))(?P<value>[^\s'\"]{1,500})(?=@)")
"""A password, which may hold / and @; and a user that is as long as a token, as code hosts take it."""
BEARER = re.compile(r"(?i)(?P<head>\b(?:bearer|basic|authorization[\"']?\s*[:=]\s*[\"']?(?:token|apikey))\s+)(?P<value>[A-Za-z0-9._~+/=-]{8,})")

AFTER_VARIABLE = re.compile(rf"(?P<head>{BEFORE}(?P<name>[A-Z][A-Z0-9]*+(?:_[A-Z0-9]++)++)[ \t]+)"
                            r"(?P<value>(?=[A-Za-z._~+/=-]*\d)(?=[0-9._~+/=-]*[A-Za-z])[A-Za-z0-9._~+/=-]{8,})")
"""A variable and its value with a blank between: the value has letters and digits, which no word of prose has."""
SHAPES = re.compile(r"(?<![\w-])(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
                    r"|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16})(?![\w-])")
"""What is a secret wherever it stands: keys that say by their beginning what they are."""


def is_secret(name: str, value: str = "x") -> bool:
    """Whether a variable or an option of this name, with this value, holds a secret."""
    words = [part.upper() for part in PARTS.findall(name)]
    if not any(SECRET_PART.fullmatch(word) for word in words) or value in ("", REDACTED) or words[-1] == "KERNEL":  # down_token_kernel: ...
        return False
    number = re.fullmatch(r"[-+]?\d+(\.\d+)?|true|false|none|null", value, re.IGNORECASE)
    return not ("TOKEN" in words and number and len(value) < SHORT_NUMBER)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables with secrets' values replaced."""
    return {name: REDACTED if is_secret(name, value) else text(value) for name, value in variables.items()}


def words(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line with secrets replaced: ``--api-key A B``, ``--api-key=A``, ``HF_TOKEN=A``, JSON and URLs in a word."""
    return _words(tuple(argv))


@lru_cache(maxsize=1024)  # thousands of records have the same few command lines
def _words(argv: tuple[str, ...]) -> tuple[str, ...]:
    found: list[str] = []
    option = ""
    for word in argv:
        name, is_set, value = word.partition("=")
        if is_set and NAMED.fullmatch(name) and is_secret(name, value):
            found.append(f"{name}={REDACTED}")
            option = ""
        elif word.startswith("-") and word != "-":
            option = "" if is_set else word
            found.append(text(word))
        else:
            found.append(REDACTED if option.startswith("-") and is_secret(option, word) else text(word))
            option = option if option and is_secret(option) else ""
    return tuple(found)


@lru_cache(maxsize=4096)
def text(said: str) -> str:
    """Free text with what reads as a secret's name and value, a bearer's token or a URL's password replaced."""
    for pattern in (IN_URL, BEARER):
        said = pattern.sub(lambda match: match["head"] + REDACTED, said)
    said = IN_QUERY.sub(told, said)
    for pattern in (AFTER_OPTION, GIVEN):  # in this order: `secret: --api-key A` would lose the option's name first
        said = pattern.sub(lambda match: match["head"] + kept(match["name"], match["value"]), said)
    return SHAPES.sub(REDACTED, AFTER_VARIABLE.sub(told, said))


def told(match: re.Match[str]) -> str:
    """What a pattern with head, name and value found, as it may be kept where the name alone says whether it is a secret."""
    return match["head"] + (REDACTED if is_secret(match["name"], match["value"]) else match["value"])


def kept(name: str, value: str) -> str:
    """A value as it may be kept beside its name."""
    if not told_by(name) or not is_secret(name, value.strip("\"'")):
        return value
    mark = value[0] if value[:1] in ("'", '"') else ""
    return f"{mark}{REDACTED}{mark}"


def told_by(name: str) -> bool:
    """Whether a name in free text says enough: one of several parts, or one word that only a secret has."""
    return re.search(r"[A-Za-z0-9][_.-]", name) is not None or ALONE.fullmatch(name) is not None


def values(argv: Sequence[str], variables: Mapping[str, str]) -> frozenset[str]:
    """The secrets themselves that a program is given."""
    given = {value for name, value in variables.items() if is_secret(name, value)}
    for real, shown in zip(argv, words(argv), strict=True):
        if real != shown:
            given.add(real.partition("=")[2] if shown.endswith(f"={REDACTED}") else real)
    for word in (*argv, *variables.values()):
        given |= {match["value"] for match in IN_URL.finditer(word)}
        given |= {value for pattern in (GIVEN, AFTER_OPTION) for match in pattern.finditer(word)
                  if told_by(match["name"]) and is_secret(match["name"], value := match["value"].strip("\"'"))}  # fmt: skip
    return frozenset(value for value in given if len(value) >= LEAST)


def without(said: str, secrets: Iterable[str]) -> str:
    """Text without these very secrets, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        said = said.replace(secret, REDACTED)
    return said


def clean_file(path: Path, secrets: Iterable[str]) -> None:
    """Take these secrets out of a log that nobody writes to any more; one without them is not touched."""
    wanted = [secret.encode() for secret in sorted(secrets, key=len, reverse=True)]
    if not wanted or not path.is_file():
        return
    with path.open("rb") as source:
        if not any(secret in line for line in source for secret in wanted):
            return
    fresh = path.with_name(f"{path.name}.tmp{os.getpid()}")
    with path.open("rb") as source, os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as sink:
        for line in source:
            for secret in wanted:
                line = line.replace(secret, REDACTED.encode())  # noqa: PLW2901
            sink.write(line)
    os.replace(fresh, path)
