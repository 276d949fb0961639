#!/usr/bin/env bash
# outlines_core: a JSON schema's minimum, maximum, multipleOf and part of its required names are dropped, without a word.
#
# Guess, written down before (2026-11-30): the regex that outlines_core makes of a schema and the grammar of llguidance let through no
#   text that jsonschema calls invalid, or refuse the schema; they differ in white space and in the order of keys alone.
# Versions: outlines_core 0.2.14, llguidance 1.7.6, jsonschema 4.26.0, CPython 3.11.7, Linux.
# Behaviour: outlines_core's regex takes 11 where the maximum is 10, 17 as a multiple of 16, [1,1] as unique, and an object that lacks a
#   required name which stands in no `properties`; the same object with that name it refuses. `pattern` "b" means the whole string:
#   "abc" is refused, and so is 1e5 as a number. llguidance keeps the bounds and refuses the schema that it cannot keep.
#   A server that offers both for structured output answers by another schema with the one.
# Output seen (2026-11-30): "outlines_core lets through: maximum, minimum, multipleOf, uniqueItems, required",
#   "outlines_core refuses though valid: required, pattern, exponent", "llguidance differs from jsonschema in: none and will not take: uniqueItems"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check outlines-core==0.2.14 llguidance==1.7.6 jsonschema==4.26.0 \
    2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import json
import re
import sys

import jsonschema
import llguidance
from outlines_core.json_schema import build_regex_from_schema

NAMED = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a", "z"]}
CASES = [
    ("maximum", {"type": "integer", "maximum": 10}, "11"),
    ("minimum", {"type": "number", "minimum": 3}, "2.5"),
    ("multipleOf", {"type": "integer", "multipleOf": 16}, "17"),
    ("uniqueItems", {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "[1,1]"),
    ("required", NAMED, '{"a":1}'),
    ("required", NAMED, '{"a":1,"z":2}'),
    ("pattern", {"type": "string", "pattern": "b"}, '"abc"'),
    ("exponent", {"type": "number"}, "1e5"),
]
BYTES = llguidance.LLTokenizer("byte")


def by_llguidance(schema, text):
    matcher = llguidance.LLMatcher(BYTES, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)), log_level=0)
    if matcher.is_error():
        return None
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


passed, refused, other, untaken = [], [], [], []
for name, schema, text in CASES:
    valid = jsonschema.Draft202012Validator(schema).is_valid(json.loads(text))
    outlines = re.fullmatch(build_regex_from_schema(json.dumps(schema)), text) is not None
    if outlines != valid:
        (passed if outlines else refused).append(name)
    guided = by_llguidance(schema, text)
    if guided is None:
        untaken.append(name)
    elif guided != valid:
        other.append(name)
print("outlines_core lets through:", ", ".join(passed))
print("outlines_core refuses though valid:", ", ".join(refused))
print("llguidance differs from jsonschema in:", ", ".join(other) or "none", "and will not take:", ", ".join(untaken) or "none")
if passed != ["maximum", "minimum", "multipleOf", "uniqueItems", "required"] or refused != ["required", "pattern", "exponent"]:
    sys.exit("changed: what outlines_core keeps of a schema")
PYTHON
