#!/usr/bin/env bash
# toml: in a file with CRLF line ends all that follows a multi-line string is dropped, tables too, without an error.
#
# Guess, written down before (2026-11-30): tomllib, tomlkit, rtoml and toml read one valid file alike.
# Versions: toml 0.10.2, tomlkit 0.15.2, rtoml 0.14.0, CPython 3.11.7 (tomllib), Linux.
# Behaviour: toml ends with the last key before the string: the string, the keys behind it and the next tables are missing, of the same
#   text with LF none is. A Windows checkout is enough. tomlkit and rtoml read the whole file and keep CRLF inside of the string,
#   of which tomllib makes LF. And toml writes None in a list as the text "None", where it leaves out a key whose value is None.
# Output seen (2026-11-30): "toml: CRLF {'a': 1}, LF {'a': 1, 'text': 'x\ny\n', 'b': 2, 'table': {'c': 3}}",
#   "inside of the string: tomllib 'x\ny\n', tomlkit 'x\r\ny\r\n', rtoml 'x\r\ny\r\n'", "toml writes [None, 1] as ['None', 1]"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check toml==0.10.2 tomlkit==0.15.2 rtoml==0.14.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys
import tomllib

import rtoml
import toml
import tomlkit

TEXT = 'a = 1\ntext = """\nx\ny\n"""\nb = 2\n[table]\nc = 3\n'
CRLF = TEXT.replace("\n", "\r\n")
whole = tomllib.loads(TEXT)
ours = {"CRLF": toml.loads(CRLF), "LF": toml.loads(TEXT)}
print("toml:", ", ".join(f"{name} {read}" for name, read in ours.items()))
LOADS = {"tomllib": tomllib.loads, "tomlkit": lambda text: tomlkit.parse(text).unwrap(), "rtoml": rtoml.loads}
strings = {name: load(CRLF) for name, load in LOADS.items()}
print("inside of the string:", ", ".join(f"{name} {read['text']!r}" for name, read in strings.items()))
written = tomllib.loads(toml.dumps({"k": [None, 1]}))["k"]
print(f"toml writes [None, 1] as {written}")
if ours != {"CRLF": {"a": 1}, "LF": whole} or strings["tomllib"] != whole or written != ["None", 1] or any(
        strings[name] != whole | {"text": "x\r\ny\r\n"} for name in ("tomlkit", "rtoml")):
    sys.exit("changed: what the libraries make of the file")
PYTHON
