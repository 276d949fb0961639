#!/usr/bin/env bash
# openai_harmony: of a long chat only the first turn's reasoning is dropped, and it is back in the prompt after the next tool call.
#
# Guess (2026-12-01, worded after a first probe): auto_drop_analysis, the default, leaves out the analysis of every turn that has its final answer,
#   and keeps that of the turn under way, so that its tool calls have their reasons.
# Versions: oss-harmony 0.0.11 (module openai_harmony), CPython 3.11.7, Linux; openai-harmony 0.0.8 rendered the same texts.
# Behaviour: when the last assistant message is a final one, what stands before the FIRST final is stripped of its analysis: from the second
#   turn on all reasoning stays. When it is a tool call, nothing is dropped: the first turn's reasoning is back. So the prompt of a turn's
#   second request does not begin with that of its first, a prefix cache misses from the first turn on, and a chat of many turns keeps
#   growing by thoughts that are said to be left out.
# Output seen (2026-12-01), with t for reasoning, a for an answer, c for a call and its result:
#   "question 2: q1 c1 a1 q2", "  after its call: q1 t1 c1 u1 a1 q2 t2 c2", "question 3: q1 c1 a1 q2 t2 c2 u2 a2 q3",
#   "question 4: q1 c1 a1 q2 t2 c2 u2 a2 q3 t3 c3 u3 a3 q4"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check oss-harmony==0.0.11 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import re
import sys

from openai_harmony import Author, Conversation, HarmonyEncodingName, Message, Role, load_harmony_encoding

harmony = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)


def said(channel, text):
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel(channel)


def prompt(messages):
    """The texts of a prompt, in order; a tool's result is left out, since it follows its call."""
    tokens = harmony.render_conversation_for_completion(Conversation.from_messages(messages), Role.ASSISTANT)
    texts = re.findall(r"<\|message\|>(.*?)<\|", harmony.decode(tokens))
    return " ".join(text for text in texts if text != "result")


chat, seen = [], []
for turn in range(1, 5):
    chat.append(Message.from_role_and_content(Role.USER, f"q{turn}"))
    seen.append(f"question {turn}: {prompt(chat)}")
    chat.append(said("analysis", f"t{turn}"))
    chat.append(said("commentary", f"c{turn}").with_recipient("functions.look"))
    result = Message.from_author_and_content(Author.new(Role.TOOL, "functions.look"), "result")
    chat.append(result.with_channel("commentary").with_recipient("assistant"))
    seen.append(f"  after its call: {prompt(chat)}")
    chat.extend([said("analysis", f"u{turn}"), said("final", f"a{turn}")])
print("\n".join(seen))
if seen != [
    "question 1: q1",
    "  after its call: q1 t1 c1",
    "question 2: q1 c1 a1 q2",
    "  after its call: q1 t1 c1 u1 a1 q2 t2 c2",
    "question 3: q1 c1 a1 q2 t2 c2 u2 a2 q3",
    "  after its call: q1 t1 c1 u1 a1 q2 t2 c2 u2 a2 q3 t3 c3",
    "question 4: q1 c1 a1 q2 t2 c2 u2 a2 q3 t3 c3 u3 a3 q4",
    "  after its call: q1 t1 c1 u1 a1 q2 t2 c2 u2 a2 q3 t3 c3 u3 a3 q4 t4 c4",
]:
    sys.exit("changed: which turns' reasoning the Harmony library leaves out")
PYTHON
