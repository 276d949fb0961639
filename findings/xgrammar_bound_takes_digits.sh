#!/usr/bin/env bash
# xgrammar, llguidance: a number that must be larger than 0 cannot be 1e-7, nor 0.1234567 with the first.
#
# Guess (2026-12-01, worded after a first probe): of the numbers that a schema allows, a bound takes away those beyond it, and no other spelling of the rest.
# Versions: xgrammar 0.2.9, llguidance 1.7.6, jsonschema 4.26.0, torch 2.13.0 (CPU), CPython 3.11.7, Linux. xgrammar 0.2.8 did the same.
# Behaviour: {"type": "number"} lets 1e-7, 1E3 and any digits through. With minimum, maximum or an exclusive one, however far away, both refuse
#   every exponent, and xgrammar the seventh digit behind the point: the smallest number larger than 0 is 0.000001. A bound is rounded
#   to six digits, too: of minimum 0.12345678 the value 0.12345678 itself is refused. A model that means 2e-7, a learning rate or a
#   tolerance, is led to another number, and nothing says so. Integers lose nothing but the spelling 1e3.
# Output seen (2026-12-01): "no bound: xgrammar 6, llguidance 6 of 6", "exclusiveMinimum 0: xgrammar refuses 1e-7, 1E3, 0.0000001, 0.1234567; llguidance
#   refuses 1e-7, 1E3", "maximum 1e6: ..." the same, "minimum 0.12345678: 0.12345678: xgrammar False, llguidance True"
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
TEXTS = ["1e-7", "1E3", "0.0000001", "0.1234567", "0.000001", "0.5"]
BYTES = llguidance.LLTokenizer("byte")
compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([bytes([byte]) for byte in range(END)] + [b"<end>"], stop_token_ids=[END]))


def by_xgrammar(schema, text):
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
    return matcher.accept_string(text) and matcher.accept_token(END)


def by_llguidance(schema, text):
    matcher = llguidance.LLMatcher(BYTES, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)), log_level=0)
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


def refused(taken, schema):
    for text in TEXTS:
        jsonschema.validate(json.loads(text), schema)
    return [text for text in TEXTS if not taken(schema, text)]


seen = []
for bound in ({}, {"exclusiveMinimum": 0}, {"maximum": 1e6}):
    schema = {"type": "number", **bound}
    seen.append([refused(by_xgrammar, schema), refused(by_llguidance, schema)])
    name = " ".join(f"{key} {value:g}" for key, value in bound.items()) or "no bound"
    print(f"{name}: xgrammar refuses {', '.join(seen[-1][0]) or 'none'}; llguidance refuses {', '.join(seen[-1][1]) or 'none'}")
schema = {"type": "number", "minimum": 0.12345678}
jsonschema.validate(0.12345678, schema)
itself = [by_xgrammar(schema, "0.12345678"), by_llguidance(schema, "0.12345678")]
print("minimum 0.12345678: 0.12345678: xgrammar {}, llguidance {}".format(*itself))
if seen != [[[], []], [TEXTS[:4], TEXTS[:2]], [TEXTS[:4], TEXTS[:2]]] or itself != [False, True]:
    sys.exit("changed: which numbers a bound takes away")
PYTHON
