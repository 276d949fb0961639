#!/usr/bin/env bash
# xgrammar: a schema's pattern with a backslash or a quote lets through only what is no JSON, or JSON of another text.
#
# Guess (2026-12-01, worded after a first probe): a grammar made of a JSON schema lets JSON through alone; a pattern is matched with the string's value,
#   so that "^C:\\[a-z]+$" is answered by "C:\\temp".
# Versions: xgrammar 0.2.9, llguidance 1.7.6, jsonschema 4.26.0, torch 2.13.0 (CPU), CPython 3.11.7, Linux. xgrammar 0.2.8 did the same.
# Behaviour: the pattern is matched with the characters between the quotes as they are written. For a path C:\temp the valid text is refused,
#   and "C:\temp" is let through, which is a tab and "emp" to a reader; for C:\data, and for a pattern with a quote, what is let through is an
#   error to a reader. A model held to such a schema cannot answer it. "." and [^a] take no quote, no backslash and no escaped letter.
#   llguidance lets the valid text through, and nothing else.
# Output seen (2026-12-01): "^C:\\[a-z]+$: valid "C:\\temp": xgrammar False, llguidance True; raw "C:\temp" (read as 'C:\temp', a tab): xgrammar True,
#   llguidance False", the same with "C:\data" (no JSON), "a"b" (no JSON) of ^a"b$; "^.$: valid "\"": xgrammar False, llguidance True"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 xgrammar==0.2.9 transformers==5.24.0 triton==3.9.0 numpy==2.3.5 \
    apache-tvm-ffi==0.1.15.post2 llguidance==1.7.6 jsonschema==4.26.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import json
import sys

import jsonschema
import llguidance
import xgrammar

END = 256
BYTES = llguidance.LLTokenizer("byte")
compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([bytes([byte]) for byte in range(END)] + [b"<end>"], stop_token_ids=[END]))


def by_xgrammar(schema, text):
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
    return matcher.accept_string(text) and matcher.accept_token(END)


def by_llguidance(schema, text):
    matcher = llguidance.LLMatcher(BYTES, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)), log_level=0)
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


def read(text):
    try:
        value = json.loads(text)
    except ValueError:
        return "no JSON"
    return f"read as {value!r}, a tab" if "\t" in value else f"read as {value!r}"


seen = {}
for pattern, value, raw in (
    (r"^C:\\[a-z]+$", r"C:\temp", r'"C:\temp"'),
    (r"^C:\\[a-z]+$", r"C:\data", r'"C:\data"'),
    ('^a"b$', 'a"b', '"a"b"'),
    ("^.$", '"', None),
):
    schema, valid = {"type": "string", "pattern": pattern}, json.dumps(value)
    jsonschema.validate(json.loads(valid), schema)
    line = f"{pattern}: valid {valid}: xgrammar {by_xgrammar(schema, valid)}, llguidance {by_llguidance(schema, valid)}"
    seen[valid] = [by_xgrammar(schema, valid), by_llguidance(schema, valid)]
    if raw:
        line += f"; raw {raw} ({read(raw)}): xgrammar {by_xgrammar(schema, raw)}, llguidance {by_llguidance(schema, raw)}"
        seen[raw] = [by_xgrammar(schema, raw), by_llguidance(schema, raw)]
    print(line)
valid_refused, other_taken = [False, True], [True, False]
if list(seen.values()) != [valid_refused, other_taken] * 3 + [valid_refused]:
    sys.exit("changed: what xgrammar lets through of a pattern with a backslash or a quote")
PYTHON
