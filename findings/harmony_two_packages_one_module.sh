#!/usr/bin/env bash
# oss-harmony, openai-harmony: both are the module openai_harmony, and they write one tool call as two different prompts.
#
# Guess (2026-12-01, worded after a first probe): oss-harmony, which vLLM installs, renders what openai-harmony renders; it merely carries the vocabulary.
# Versions: oss-harmony 0.0.11, openai-harmony 0.0.8, CPython 3.11.7, Linux.
# Behaviour: the API and its Python file are the same to the byte. The recipient of a call and of a result stands in another place of the
#   header, and a content type "json" gets the token <|constrain|> from one, none from the other. pip installs both side by side and calls
#   that sound: the one installed last answers every import, so that a tool that brings the other (an evaluation, a client) changes the
#   prompts of a server in that environment, and has it look for a vocabulary. vLLM 0.33.0 rewrites the header of calls, not that of
#   results. Removing either takes the module from both, and pip still says that nothing is broken.
# Output seen (2026-12-01): "oss-harmony: <|start|>assistant<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}<|call|>",
#   "openai-harmony: <|start|>assistant to=functions.look<|channel|>commentary json<|message|>{}<|call|>",
#   "both: as openai-harmony, pip check 0", "openai-harmony removed: no module, oss-harmony 0.0.11 listed, pip check 0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > render.py <<'PYTHON'
import sys

from openai_harmony import Author, HarmonyEncodingName, Message, Role, load_harmony_encoding

harmony = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
if len(sys.argv) > 1:  # openai-harmony reads the ordinary tokens from a file, and checks its hash
    import base64

    with open(sys.argv[1], "wb") as file:
        for token in range(199_998):
            file.write(base64.b64encode(bytes(harmony._inner.decode_bytes([token]))) + b" %d\n" % token)
call = Message.from_role_and_content(Role.ASSISTANT, "{}").with_channel("commentary")
result = Message.from_author_and_content(Author.new(Role.TOOL, "functions.look"), "sunny").with_channel("commentary")
for message in (call.with_recipient("functions.look").with_content_type("json"), result.with_recipient("assistant")):
    print(harmony.decode(harmony.render(message)))
PYTHON
for package in oss-harmony==0.0.11 openai-harmony==0.0.8; do
    python3 -m venv "${package%%==*}"
    "${package%%==*}"/bin/pip install --quiet --disable-pip-version-check "$package" 2> pip.log || { cat pip.log; exit 2; } >&2
done
mkdir vocabulary
unset TIKTOKEN_ENCODINGS_BASE
oss-harmony/bin/python render.py vocabulary/o200k_base.tiktoken > oss
export TIKTOKEN_ENCODINGS_BASE=$work/vocabulary
openai-harmony/bin/python render.py > openai
cmp {oss,openai}-harmony/lib/python3*/site-packages/openai_harmony/__init__.py
echo "oss-harmony: $(cat oss)"
echo "openai-harmony: $(cat openai)"

oss-harmony/bin/pip install --quiet --disable-pip-version-check openai-harmony==0.0.8 2> pip.log || { cat pip.log; exit 2; } >&2
oss-harmony/bin/python render.py > both
checked=0; oss-harmony/bin/pip check > pip.log || checked=$?
cmp -s both openai && echo "both: as openai-harmony, pip check $checked"
oss-harmony/bin/pip uninstall --quiet --yes openai-harmony 2> pip.log
left=$(oss-harmony/bin/pip list --disable-pip-version-check 2> pip.log | grep harmony | tr -s ' ')
oss-harmony/bin/pip check > pip.log || checked=$?
oss-harmony/bin/python -c 'import openai_harmony; openai_harmony.load_harmony_encoding' 2> import.log && module=a || module=no
echo "openai-harmony removed: $module module, $left listed, pip check $checked"

printf '%s\n' '<|start|>assistant<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}<|call|>' \
    '<|start|>functions.look<|channel|>commentary to=assistant<|message|>sunny<|end|>' | cmp -s - oss &&
    printf '%s\n' '<|start|>assistant to=functions.look<|channel|>commentary json<|message|>{}<|call|>' \
        '<|start|>functions.look to=assistant<|channel|>commentary<|message|>sunny<|end|>' | cmp -s - openai &&
    cmp -s both openai && [ "$checked $module $left" = "0 no oss-harmony 0.0.11" ] ||
    { echo "changed: what the two packages of openai_harmony render, or what pip says of both" >&2; exit 1; }
