"""Secrets in environments, command lines and what programs print: their names stay, their values do not.

A name is a secret's where one of its parts ends in KEY, TOKEN, SECRET or PASSWORD (HF_TOKEN, --api-key, VLLM_API_KEY, apiKey). Counts of tokens
are none: TOKENS and TOKENIZER are other words, and a short number under TOKEN is a length or an id. docs/decisions/0051 says where this holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

REDACTED = "<redacted>"
SHORT_NUMBER = 10  # digits: no secret is as short, and every length is shorter
LEAST = 6  # characters of a value that is looked for by itself: "1" and "auto" stand everywhere
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]+")
SECRET_PART = re.compile(r"\w*(KEYS?|TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?)|PAT|COOKIE|AUTHORIZATION")
LAST = ("PASS", "PWD")
"""Only at the end, and PWD not alone: vLLM has a ``pass_config``, a shell a PWD."""
OF_TEXT = frozenset((
    "ID", "IDS", "THROUGHPUT", "LATENCY", "LATENCIES", "COUNT", "COUNTS", "NUM", "THRESHOLD", "BUDGET", "BUDGETS",
    "LIMIT", "LENGTH", "RATE", "PROB", "PROBS", "LOGPROBS", "LEVEL", "HEAD", "GROUP", "SCALED", "QUANT", "CLASSIFY",
    "EMBED", "EMBEDDINGS", "KERNEL", "INDEX", "INDICES", "TYPE",
))  # fmt: skip
"""Behind TOKEN: a piece of text, as models, their compilers and our tables count it."""
ONE_BEFORE = [[word] for word in ["PER", "INTER", "FIRST", "EOS", "BOS", "PAD", "SEP", "MASK", "UNK", "NOISE", "SPECULATIVE"]]
PER = (["PER", "OUTPUT"], ["PER", "INPUT"])
"""Before it."""
COMPILERS = [[word] for word in ["PRE", "POST", "CUSTOM", "INDUCTOR", "SINGLE", "MULTI", "FUSION", "GRAPH", "FORWARD", "BACKWARD"]]
"""Before PASS: one of a compiler's."""
ALONE = re.compile(r"(?i)-{0,2}(token|secrets?|passwords?|passwd|passphrase|credentials?|authorization|cookie|\w+(key|token|secret|password))")
"""A name of one word that is a secret's: `KeyError: ...` and `key: ...` are prose."""
BEFORE = r"(?<![A-Za-z0-9_.-])"  # a name begins where a word does: tried at every letter, a long word would take quadratic time
WORD = r"_{0,3}[A-Za-z][A-Za-z0-9]*+(?:[_.-]++[A-Za-z0-9]++)*+_{0,3}"
NAMED = re.compile(r"(--?)?[A-Za-z_][\w.-]*")
MARK = r"\\{0,4}[\"']"
"""A quote, as it is or as it stands in a quoted text."""
SET = r"\s*(?::\s*(?:Optional\[)?(?:str|bytes|SecretStr|Any)\b[\]| None]{0,12}=|=>|->|:=|={1,3}|:|%3[AaDd])\s*(?:-\s+)?"
"""Between a name and its value: as a shell, Python, YAML, TOML, Rust or an address have it."""
GIVEN = re.compile(rf"{BEFORE}(?:--?)?(?P<name>{WORD})(?:{MARK})?\]?{SET}")
AFTER_OPTION = re.compile(rf"{BEFORE}(?P<name>--?[A-Za-z][A-Za-z0-9]*+(?:[_.-]++[A-Za-z0-9]++)*+)\s+(?!-)")
PLAIN = r"[^\s,;\"'{}\[\]<>\\]"
# A tag and an escape end a bare value; < and > and a backslash that are none are of it.
WITH_SIGNS = rf"(?:{PLAIN}|<(?![/!]?[A-Za-z][^<>\s]{{0,40}}>)|>(?=\w)|\\(?![nrtu\"'\\]))*"
BARE = rf"{PLAIN}{WITH_SIGNS}(?:,(?![\w.-]+[=:]){PLAIN}{WITH_SIGNS})*"
THREE = r"\"\"\"[^\"]{0,4000}+(?:\"\"\"|$)|'''[^']{0,4000}+(?:'''|$)"
WITHIN = r"\\{1,4}\"[^\"\\]*+\\{0,4}\"?|\\{1,4}'[^'\\]*+\\{0,4}'?"
QUOTED = rf"{THREE}|{WITHIN}|\"(?:[^\"\\]|\\.)*+(?:\"|$)|'(?:[^'\\]|\\.)*+(?:'|$)"
LISTED = r"(?:\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'|[^\[\]{}\n\"'])*+"
VALUE = re.compile(rf"(?:[A-Za-z][\w.]{{0,30}}\(|[A-Za-z]{{1,2}})?(?:{QUOTED})\)?|\[{LISTED}\]|\{{{LISTED}\}}|{BARE}", re.DOTALL)
"""What stands behind a name that is a secret's: with a letter or a call around it too, as ``b'...'`` and ``Some("...")``."""
IN_QUERY = re.compile(r"(?P<head>[?&](?P<name>[A-Za-z0-9_.-]++)=)(?P<value>[^\s&#\"']++)")
SIGNATURE = re.compile(r"(?i)(x-(amz|goog)-)?signature|sig")
IN_URL = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]{0,20}://(?:[^\s/@:'\"]{0,500}:(?!\d+/)(?=[^\s'\"]{0,500}@)|(?=[^\s/@:'\"]{8,500}@)))(?P<value>[^\s'\"]{1,500})(?=@)")
"""A password, which may hold / and @; and a user that is as long as a token, as code hosts take it."""
BEARER = re.compile(r"(?i)(?P<head>\b(?:bearer|basic|authorization[\"']?\s*[:=]\s*[\"']?(?:token|apikey))\s+)(?P<value>[A-Za-z0-9._~+/=-]{8,})")
COOKIES = re.compile(rf"(?i)(?P<head>\b(?:set-)?cookie(?:{MARK})?\s*:\s*(?:{MARK})?)(?P<value>[^\"'\n\\]+)")
PAIR = re.compile(rf"(?P<head>b?{MARK}(?P<name>{WORD}){MARK}\s*,\s*b?{MARK})(?P<value>[^\"'\\\n]++)(?!{MARK}\s*[:=])")
"""A header as servers print theirs: ``(b'x-api-key', b'...')``."""
ELEMENT = re.compile(rf"(?P<head><(?P<name>{WORD})>)(?P<value>[^<>\n]+)(?=</)")
MIXED = r"(?P<value>(?=[A-Za-z._~+/=-]*\d)(?=[0-9._~+/=-]*[A-Za-z])[A-Za-z0-9._~+/=-]{8,})"
"""A value with letters and digits, which no word of prose has."""
AFTER_VARIABLE = re.compile(rf"(?P<head>{BEFORE}(?P<name>[A-Z][A-Z0-9]*+(?:_[A-Z0-9]++)++)[ \t]+){MIXED}")
"""A variable and its value with a blank between."""
IN_PROSE = re.compile(rf"(?i)(?P<head>{BEFORE}(?:(?:api|access|secret|private|auth)[ _-]?(?:key|token)|token|password|passphrase)"
                      rf"(?:(?: provided| is)?:|[ \t])\s*){MIXED}")
SHAPES = re.compile(r"(?<![\w-])(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
                    r"|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|nvapi-[\w-]{20,}|AIza[\w-]{35}|npm_[A-Za-z0-9]{30,}|dckr_pat_[\w-]{20,}"
                    r"|pypi-[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})(?![\w-])")
"""What is a secret wherever it stands: keys that say by their beginning what they are."""
NAME_AND_VALUE = re.compile(rf"(?i)(?P<head>{BEFORE}(?:name|key|variable)(?:{MARK})?\s*[:=]\s*(?:{MARK})?(?P<name>{WORD})(?:{MARK})?[\s,;]+(?:{MARK})?"
                            rf"value(?:{MARK})?\s*[:=]\s*(?:{MARK})?)(?P<value>[^\"'\\\s<>{{}},]+)")
"""A variable of a pod, an entry of a configuration: its name and its value each have a name of their own."""
ON_LINES = re.compile(rf"(?m)(?P<head>{BEFORE}(?P<name>[A-Z][A-Z0-9]*+(?:_[A-Z0-9]++)++)[ \t]*\r?\n[ \t]*)"
                      r"(?P<value>(?=[A-Za-z+/=]*\d)(?=[A-Z0-9+/=]*[a-z])[A-Za-z0-9+/=]{16,})(?=[ \t]*(?:\r?\n|\Z))")
"""A variable, and in the line below nothing but what may be a secret: names of patches and kernels have a dash or an underscore, and are shorter."""
HOOK = re.compile(r"(?P<head>/(?:(?:services|workflows|triggers)/T[A-Z0-9]{6,20}/|webhooks/\d{15,22}/|webhookb2/|hooks/|bot(?=\d{6,12}:)))"
                  r"(?P<value>[\w:@/-]{20,})")
"""An address that whoever has it may write to: of Slack, Discord, Teams, Mattermost, Telegram."""
PRIVATE = re.compile(r"(?P<head>-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)(?P<value>[^-]++)")
CALL = re.compile(r"\b(?P<program>curl|sshpass|redis-cli|(?:docker|podman)[\"', ]{1,5}login)\b[^\n]*")
APART = r"[\s=,\"']{0,6}"
TO_PROGRAM = {
    "curl": re.compile(rf"(?P<head>(?<![\w-])(?:-[uU]|--user|--proxy-user){APART}[^\s:\"',]{{1,256}}:"
                       rf"|(?<![\w-])(?:-b|--cookie){APART}[\w.-]{{1,256}}=)(?P<value>[^\s\"',]+)"),  # bounded: each start looks no further
    "sshpass": re.compile(rf"(?P<head>(?<![\w-])-p{APART})(?P<value>[^\s\"',]+)"),
    "redis-cli": re.compile(rf"(?P<head>(?<![\w-])-a{APART})(?P<value>[^\s\"',]+)"),
    "login": re.compile(rf"(?P<head>(?<![\w-])-p{APART})(?P<value>[^\s\"',]+)"),
}
"""Options whose name says nothing, of programs in which they hold a secret: `-u` and `-p` of another program are a user and a port."""
COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")


def is_secret(name: str, value: str = "x") -> bool:
    """Whether a variable or an option of this name, with this value, holds a secret."""
    words = told_words([part.upper() for part in PARTS.findall(name)])
    if not any(SECRET_PART.fullmatch(word) for word in words) and (not words or words[-1] not in LAST or words == ["PWD"]):
        return False
    if value in ("", REDACTED):
        return False
    number = re.fullmatch(r"[-+]?\d+(\.\d+)?|true|false|none|null", value, re.IGNORECASE)
    return not ("TOKEN" in words and number and len(value) < SHORT_NUMBER)


def told_words(words: list[str]) -> list[str]:
    """A name's words without those that only look like a secret's: a token of text, a key of a cache, a compiler's pass."""
    found: list[str] = []
    for at, word in enumerate(words):
        before, after = words[:at], words[at + 1] if at + 1 < len(words) else ""
        of_text = word == "TOKEN" and (after in OF_TEXT or before[-1:] in ONE_BEFORE or before[-2:] in PER)
        of_a_cache, of_a_compiler = word == "KEY" and after == "VALUE", word == "PASS" and before[-1:] in COMPILERS
        found += [] if of_text or of_a_cache or of_a_compiler else [word]
    return found


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables with secrets' values replaced."""
    return {name: REDACTED if is_secret(name, value) else text(value) for name, value in variables.items()}


def words(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line with secrets replaced: ``--api-key A B``, ``--api-key=A``, ``HF_TOKEN=A``, JSON and URLs in a word."""
    return _words(tuple(argv))


@lru_cache(maxsize=1024)  # thousands of records have the same few command lines
def _words(argv: tuple[str, ...]) -> tuple[str, ...]:
    found: list[str] = []
    option = called = ""
    for at, word in enumerate(argv):
        program = CALL.search(" ".join((argv[at - 1].rpartition("/")[2], word) if at and word == "login" else (word.rpartition("/")[2],)))
        called = program["program"] if program and " " not in word else called
        name, is_set, value = word.partition("=")
        if is_set and NAMED.fullmatch(name) and is_secret(name, value):
            found.append(f"{name}={REDACTED}")
            option = ""
        elif word.startswith("-") and word != "-":
            option = "" if is_set else word
            found.append(given_to(called, word))
        else:
            found.append(REDACTED if option.startswith("-") and is_secret(option, word) else given_to(f"{called} {option}" if called else "", word))
            option = option if option and is_secret(option) else ""
    return tuple(found)


def given_to(before: str, word: str) -> str:
    """A word of a command line. before: the program and the option that it stands behind, where that program is one of ``TO_PROGRAM``."""
    whole = text(f"{before} {word}") if before else ""
    return whole.removeprefix(f"{before} ") if whole.startswith(f"{before} ") else text(word)


@lru_cache(maxsize=4096)
def text(said: str) -> str:
    """Free text with what reads as a secret's name and value, a bearer's token or a URL's password replaced; where that is in colours, without these."""
    if "\x1b[" in said and (clean := redacted(plain := COLOUR.sub("", said))) != plain:
        return clean
    return redacted(said)


def redacted(said: str) -> str:
    """The same of a text without colours."""
    said = CALL.sub(to_program, said)
    for pattern in (IN_URL, BEARER, COOKIES, HOOK, PRIVATE):
        said = pattern.sub(lambda match: match["head"] + REDACTED, said)
    for pattern in (NAME_AND_VALUE, IN_QUERY, PAIR, ELEMENT, ON_LINES):
        said = pattern.sub(told, said)
    for pattern in (AFTER_OPTION, GIVEN):  # in this order: `secret: --api-key A` would lose the option's name first
        said = without_values(pattern, said)
    said = AFTER_VARIABLE.sub(told, said)
    return SHAPES.sub(REDACTED, IN_PROSE.sub(lambda match: match["head"] + REDACTED, said))


def to_program(call: re.Match[str]) -> str:
    """A call of a program, to its line's end, without what it is given in secret."""
    given = TO_PROGRAM["login" if call["program"].endswith("login") else call["program"]]
    return given.sub(lambda match: match["head"] + REDACTED, call[0])


def told(match: re.Match[str]) -> str:
    """What a pattern with head, name and value found, as it may be kept where the name alone says whether it is a secret."""
    secret = is_secret(match["name"], match["value"]) or (match.re is IN_QUERY and SIGNATURE.fullmatch(match["name"]))
    return match["head"] + (REDACTED if secret else match["value"])


def named_values(heads: re.Pattern[str], said: str) -> Iterator[re.Match[str]]:
    """The values behind the names that are a secret's. What stands behind another name is looked into: ``-e=HF_TOKEN=...``."""
    at = 0
    while head := heads.search(said, at):
        at = head.end()
        if told_by(head["name"]) and (value := VALUE.match(said, at)) and is_secret(head["name"], value[0].strip("\\\"'")):
            yield value
            at = value.end()


def without_values(heads: re.Pattern[str], said: str) -> str:
    """The text without them; a value's quotes stay."""
    parts, at = [], 0
    for value in named_values(heads, said):
        mark = re.match(MARK, value[0])
        around = mark[0] if mark else ""
        parts += [said[at:value.start()], around, REDACTED, around]
        at = value.end()
    return "".join([*parts, said[at:]])


def told_by(name: str) -> bool:
    """Whether a name in free text says enough: one of several parts, or one word that only a secret has."""
    return re.search(r"[A-Za-z0-9][_.-]", name) is not None or ALONE.fullmatch(name) is not None


OF_NO_SECRET = re.compile(r"GIT_CONFIG_KEY_\d+|.*[a-z0-9]_?(PATH|FILE|DIR|TYPE|PREFIX)", re.IGNORECASE)
"""Variables beside secrets: a setting's name, where a key lies, of which kind it is. Such a word stands in many a text."""


def values(argv: Sequence[str], variables: Mapping[str, str]) -> frozenset[str]:
    """The secrets themselves that a program is given; of one of several lines (a private key) each line too, as texts and logs are read by lines."""
    given = {value for name, value in variables.items() if is_secret(name, value) and not OF_NO_SECRET.fullmatch(name)}
    for real, shown in zip(argv, words(argv), strict=True):
        if real != shown:
            given.add(real.partition("=")[2] if shown.endswith(f"={REDACTED}") else real)
    for word in (*argv, *variables.values()):
        given |= {match["value"] for match in IN_URL.finditer(word)}
        given |= {match[0].strip("\\\"'") for pattern in (GIVEN, AFTER_OPTION) for match in named_values(pattern, word)}
    given |= {line.strip() for value in given for line in value.splitlines()}
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
