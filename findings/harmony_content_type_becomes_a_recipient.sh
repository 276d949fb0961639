#!/usr/bin/env bash
# openai_harmony: a final answer of content type json is parsed as a call of a tool named "<|constrain|>json".
#
# Guess (2026-12-01, worded after a first probe): a message that the library renders is parsed back as it was, whichever of its optional parts are set.
# Versions: oss-harmony 0.0.11 (module openai_harmony), CPython 3.11.7, Linux; openai-harmony 0.0.8 parsed the same texts alike.
# Behaviour: the last word of a header without "to=" is taken for the recipient, <|constrain|> or not; there is no content type then. So
#   the answer of a model that says what it is held to has somebody to go to, from the whole parser and from the streaming one, and
#   rendered again it is a call: to=<|constrain|>json, ended by <|call|>. With a recipient the same header is read right. A user or an assistant
#   with a name is rendered as "user:Ann", and a tool's result without recipient by the tool's name; both are then an "Unknown role".
# Output seen (2026-12-01): "final, json: recipient None -> <|constrain|>json, content type json -> None; streaming: <|constrain|>json",
#   "again: <|start|>assistant to=<|constrain|>json<|channel|>final<|message|>{}<|call|>", "call, json: recipient functions.look -> functions.look,
#   content type json -> <|constrain|>json; streaming: functions.look", "user Ann: Unknown role: user:Ann", "tool look: Unknown role: look"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check oss-harmony==0.0.11 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

from openai_harmony import Author, HarmonyEncodingName, HarmonyError, Message, Role, StreamableParser, load_harmony_encoding

harmony = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)


def parts(name, message):
    """Recipient and content type before and behind one round; the recipient that the streaming parser knows; the second rendering."""
    tokens = harmony.render(message)
    (back,) = harmony.parse_messages_from_completion_tokens(tokens)
    stream = StreamableParser(harmony, None)
    for token in tokens[:-1]:
        stream.process(token)
    print(f"{name}: recipient {message.recipient} -> {back.recipient}, content type {message.content_type} -> {back.content_type}; "
          f"streaming: {stream.current_recipient}")
    return back.recipient, back.content_type, stream.current_recipient, harmony.decode(harmony.render(back))


def error(name, message):
    try:
        harmony.parse_messages_from_completion_tokens(harmony.render(message))
    except HarmonyError as said:
        print(f"{name}: {said}")
        return str(said)
    return None


answer = Message.from_role_and_content(Role.ASSISTANT, "{}").with_channel("final").with_content_type("json")
call = Message.from_role_and_content(Role.ASSISTANT, "{}").with_channel("commentary").with_recipient("functions.look")
seen = [parts("final, json", answer)]
print("again:", seen[0][-1])
seen.append(parts("call, json", call.with_content_type("json")))
errors = [error("user Ann", Message.from_author_and_content(Author.new(Role.USER, "Ann"), "Hello.")),
          error("tool look", Message.from_author_and_content(Author.new(Role.TOOL, "look"), "Sunny."))]
if errors != ["Unknown role: user:Ann", "Unknown role: look"] or seen != [
    ("<|constrain|>json", None, "<|constrain|>json", "<|start|>assistant to=<|constrain|>json<|channel|>final<|message|>{}<|call|>"),
    ("functions.look", "<|constrain|>json", "functions.look",
     "<|start|>assistant<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}<|call|>"),
]:
    sys.exit("changed: how the Harmony library parses what it rendered")
PYTHON
