"""What a CMakeLists.txt says for one configuration: its lists of sources, its targets, their flags and definitions.

Not CMake: only ``set``, ``list``, ``if`` and calls by name are understood, which is what vLLM's lists are made of. CMake itself would want
ROCm's compiler and a ROCm torch before it reads the first list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

TOKEN = re.compile(r'\s+|#[^\n]*|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<paren>[()])|(?P<bare>(?:[^\s()#"\\]|\\.)+)')
FALSE = ("", "0", "OFF", "NO", "FALSE", "N", "IGNORE", "NOTFOUND")
TRUE = ("1", "ON", "YES", "TRUE", "Y")
TARGETS = ("add_library", "add_executable", "define_extension_target")
SKIPPED = {"function": "endfunction", "macro": "endmacro", "foreach": "endforeach", "while": "endwhile"}


@dataclass(frozen=True)
class Word:
    """An argument as written."""

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Call:
    """A command of a CMake file, its variables replaced."""

    name: str
    words: tuple[str, ...]


@dataclass
class Lists:
    """The variables of a CMake file after it was read, and the calls that were made on the way (all but set, list and if)."""

    variables: dict[str, str]
    calls: list[Call] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """A variable as the list that it is."""
        return [item for item in self.variables.get(name, "").split(";") if item]


def read(text: str, variables: dict[str, str]) -> Lists:
    """Read a CMake file. variables: what is known before."""
    lists = Lists(dict(variables))
    branches: list[list[bool]] = []  # of each open if: whether its branch is on, whether one was on already
    within: list[str] = []  # what ends the loops and functions that are being left out
    for name, words in commands(text):
        if name in SKIPPED:
            within.append(SKIPPED[name])
        elif within:
            within = within[:-1] if name == within[-1] else within
        elif name in ("if", "elseif", "else", "endif"):
            branch(lists, branches, name, words)
        elif all(on for on, _ in branches):
            if name == "return":
                break
            obey(lists, name, words)
    return lists


def function_body(text: str, name: str) -> str:
    """The text between ``function(name`` and its end; "" where there is none."""
    found = re.search(rf"function\s*\(\s*{name}\b[^)]*\)(.*?)\bendfunction", text, re.DOTALL)
    return found[1] if found else ""


def commands(text: str) -> Iterator[tuple[str, list[Word]]]:
    """The commands of a file: name in lower case, arguments."""
    at, name, words, depth = 0, "", list[Word](), 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            at += 1
            continue
        at = found.end()
        kind, word = found.lastgroup, found[found.lastgroup] if found.lastgroup else ""
        if kind is None:
            continue
        if word == "(" and kind == "paren":
            depth += 1
            if depth == 1:
                words = []
                continue
        if word == ")" and kind == "paren":
            depth -= 1
            if depth == 0:
                yield name.lower(), words
                continue
        if depth == 0:
            name = word
        else:
            words.append(Word(word, kind == "quoted"))


def branch(lists: Lists, branches: list[list[bool]], name: str, words: Sequence[Word]) -> None:
    """Enter, change or leave an if."""
    if name == "endif":
        branches.pop()
        return
    if name == "if":
        branches.append([False, False])
    on, was = branches[-1]
    now = not (on or was) and (name == "else" or (all(one for one, _ in branches[:-1]) and holds(lists, list(words))))
    branches[-1] = [now, on or was or now]


def replaced(lists: Lists, text: str) -> str:
    """Text with its ``${variables}`` replaced, the innermost first."""
    while (after := re.sub(r"\$\{([\w.]+)\}", lambda found: lists.variables.get(found[1], ""), text)) != text:
        text = after
    return text


def arguments(lists: Lists, words: Sequence[Word]) -> list[str]:
    """Arguments with variables replaced; an unquoted list becomes several."""
    values: list[str] = []
    for word in words:
        value = replaced(lists, word.text)
        values += [value] if word.quoted else [item for item in value.split(";") if item]
    return values


def obey(lists: Lists, name: str, words: Sequence[Word]) -> None:
    values = arguments(lists, words)
    if name == "set" and values:
        if "CACHE" in values and values[0] in lists.variables:
            return
        kept = values[1 : values.index("CACHE")] if "CACHE" in values else [value for value in values[1:] if value != "PARENT_SCOPE"]
        lists.variables[values[0]] = ";".join(kept)
    elif name == "list" and len(values) >= 2:
        change(lists, values[0], values[1], values[2:])
    else:
        lists.calls.append(Call(name, tuple(values)))


def change(lists: Lists, how: str, name: str, values: Sequence[str]) -> None:
    """list(APPEND|REMOVE_ITEM|REMOVE_DUPLICATES|FILTER)."""
    held = lists.values(name)
    if how == "APPEND":
        held += [item for value in values for item in value.split(";") if item]
    elif how == "REMOVE_ITEM":
        held = [item for item in held if item not in values]
    elif how == "REMOVE_DUPLICATES":
        held = list(dict.fromkeys(held))
    elif how == "FILTER":
        kind, _, pattern = values
        held = [item for item in held if bool(re.search(pattern, item)) == (kind == "INCLUDE")]
    lists.variables[name] = ";".join(held)


def holds(lists: Lists, words: list[Word]) -> bool:
    """A condition: OR binds weakest, then AND, then NOT, as in CMake."""
    value = both(lists, words)
    while words and words[0] == Word("OR"):
        words.pop(0)
        value = both(lists, words) or value
    return value


def both(lists: Lists, words: list[Word]) -> bool:
    value = single(lists, words)
    while words and words[0] == Word("AND"):
        words.pop(0)
        value = single(lists, words) and value
    return value


def single(lists: Lists, words: list[Word]) -> bool:
    """One term: NOT, a bracket, DEFINED or TARGET, or what compared() says."""
    word = words.pop(0)
    if word == Word("NOT"):
        return not single(lists, words)
    if word == Word("("):
        value = holds(lists, words)
        words.pop(0)
        return value
    if word == Word("DEFINED"):
        return words.pop(0).text in lists.variables
    if word == Word("TARGET"):
        target = replaced(lists, words.pop(0).text)
        return any(call.name in TARGETS and call.words[:1] == (target,) for call in lists.calls)
    return compared(lists, word, words)


def compared(lists: Lists, word: Word, words: list[Word]) -> bool:
    """A comparison, or a value by itself."""
    left = valued(lists, word)
    if words and not words[0].quoted and words[0].text in ("STREQUAL", "EQUAL", "MATCHES"):
        how, right = words.pop(0).text, valued(lists, words.pop(0))
        return bool(re.search(right, left)) if how == "MATCHES" else left == right
    if words and not words[0].quoted and re.fullmatch(r"(VERSION_)?(LESS|GREATER|EQUAL)(_EQUAL)?|IN_LIST", words[0].text):
        how, right = words.pop(0).text, valued(lists, words.pop(0))
        return ordered(how, left, right)
    if word.text == left and not word.quoted:  # no variable of that name, and no reference
        return left.upper() in TRUE
    return left.upper() not in FALSE and not left.endswith("-NOTFOUND")


def valued(lists: Lists, word: Word) -> str:
    """A side of a condition: a variable by its bare name, or the text."""
    text = replaced(lists, word.text)
    return lists.variables.get(text, text) if not word.quoted else text


def ordered(how: str, left: str, right: str) -> bool:
    """A comparison of numbers or versions; false where one is none."""
    if how == "IN_LIST":
        return left in right.split(";")
    try:
        first, second = ([int(part) for part in re.findall(r"\d+", side)] for side in (left, right))
    except ValueError:
        return False
    if not first or not second:
        return False
    return {"LESS": first < second, "GREATER": first > second, "EQUAL": first == second,
            "LESS_EQUAL": first <= second, "GREATER_EQUAL": first >= second}[how.removeprefix("VERSION_")]  # fmt: skip
