#!/usr/bin/env bash
# xgrammar: its grammar for GPT-OSS refuses the tool call that oss-harmony writes, by one space, and takes no call at all for a required one.
#
# Guess (2026-12-01, worded after a first probe): the structural tag "harmony" takes what the Harmony library renders and parses, and with
#   tool_choice "required" or a named tool nothing that lacks a call.
# Versions: xgrammar 0.2.9, oss-harmony 0.0.11, torch 2.13.0 (CPU), CPython 3.11.7, Linux.
# Behaviour: of a call whose recipient stands in the channel, as oss-harmony renders it, the grammar wants no space before <|constrain|>, and the
#   library writes one: a history rendered by it shows the model a spelling that it is kept from (vLLM 0.33.0 rewrites that header).
#   A call without a content type and a preamble in the channel commentary are refused, too; the library parses all of them. With
#   "required" and with the tool named, an empty answer and one of analysis alone are let through, also under parallel_tool_calls=False.
# Output seen (2026-12-01): "call as rendered: parsed True, auto False, required False, named False, one call False", the same of "without type"
#   and of "preamble, call"; "no space: parsed True, auto True, required True, named True, one call True", the same of "in the role";
#   "analysis alone: ... required True, named True, one call True", "empty: parsed False, auto True, required True, named True, one call True"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 xgrammar==0.2.9 transformers==5.24.0 triton==3.9.0 numpy==2.3.5 \
    apache-tvm-ffi==0.1.15.post2 oss-harmony==0.0.11 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import xgrammar
from openai_harmony import HarmonyEncodingName, HarmonyError, Message, Role, load_harmony_encoding

END = 256
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
NAMED = {"type": "function", "function": {"name": "look"}}
WAYS = {"auto": {"tool_choice": "auto"}, "required": {"tool_choice": "required"}, "named": {"tool_choice": NAMED},
        "one call": {"tool_choice": "required", "parallel_tool_calls": False}}
harmony = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([bytes([byte]) for byte in range(END)] + [b"<end>"], stop_token_ids=[END]))
grammars = {name: compiler.compile_structural_tag(xgrammar.get_model_structural_tag("harmony", tools=[TOOL], **way)) for name, way in WAYS.items()}


def taken(grammar, text):
    matcher = xgrammar.GrammarMatcher(grammar)
    return matcher.accept_string(text) and matcher.accept_token(END)


def parsed(text):
    try:
        harmony.parse_messages_from_completion_tokens(harmony.encode(text, allowed_special="all"), Role.ASSISTANT)
    except HarmonyError:
        return False
    return True


def rendered(*messages):
    """What a model would write: the library's text of these messages, behind the prompt's <|start|>assistant."""
    return "".join(harmony.decode(harmony.render(message)) for message in messages).removeprefix("<|start|>assistant")


def said(channel, text):
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel(channel)


typeless = said("commentary", "{}").with_recipient("functions.look")
call = said("commentary", "{}").with_recipient("functions.look").with_content_type("<|constrain|>json")
texts = {
    "call as rendered": rendered(call),
    "without type": rendered(typeless),
    "preamble, call": rendered(said("commentary", "I look."), call),
    "no space": rendered(call).replace(" <|constrain|>", "<|constrain|>"),
    "in the role": " to=functions.look<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
    "analysis alone": rendered(said("analysis", "Hm.")),
    "empty": "",
}
seen = {}
for name, text in texts.items():
    seen[name] = [parsed(text), *(taken(grammar, text) for grammar in grammars.values())]
    print(f"{name}: parsed {seen[name][0]}, " + ", ".join(f"{way} {answer}" for way, answer in zip(WAYS, seen[name][1:])))
refused, passes = [True, False, False, False, False], [True] * 5
if list(seen.values()) != [refused, refused, refused, passes, passes, passes, [False, True, True, True, True]]:
    sys.exit("changed: what xgrammar's grammar for Harmony takes")
PYTHON
