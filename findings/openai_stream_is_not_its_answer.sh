#!/usr/bin/env bash
# openai (Python): the completion that its stream helper puts together lacks most token ids and the stop reason, or is an exception.
#
# Guess (2026-12-01, worded after a first probe): get_final_completion() of chat.completions.stream is what the unstreamed request answers.
# Versions: openai 3.57.0, CPython 3.11.7, Linux; a server of 40 lines that answers as vLLM does.
# Behaviour: a choice's own fields are taken from its first chunk alone: of token_ids (vLLM's return_token_ids) the first chunk's are left,
#   and stop_reason, which comes in the last, is gone; fields within `delta` are kept, numbers among them added up. A role that is
#   said in each chunk becomes "assistantassistantassistant". An answer cut by max_tokens is a LengthFinishReasonError, though no format was asked
#   for. With n=2 a first chunk of index 1 is an IndexError. Unstreamed, and in the raw chunks of stream=True, all of it is right.
# Output seen (2026-12-01): "unstreamed: role assistant, token_ids [1, 2, 3, 4], stop_reason 200012; length: length; n=2: ['a', 'b']",
#   "stream helper: role assistantassistantassistant, token_ids [1, 2], stop_reason None; length: LengthFinishReasonError; n=2: IndexError"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check openai==3.57.0 2> pip.log || { cat pip.log; exit 2; } >&2

export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
v/bin/python - <<'PYTHON'
import http.server
import json
import sys
import threading

import openai


def whole(text, index=0, reason="stop", **fields):
    return {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason, **fields}


def part(text, index=0, reason=None, **fields):
    return {"index": index, "delta": {"role": "assistant", "content": text}, "finish_reason": reason, **fields}


ANSWERS = {  # the model's name: the choices of an unstreamed answer, the choices of a streamed one
    "fields": ([whole("Hello.", token_ids=[1, 2, 3, 4], stop_reason=200012)],
               [part("Hel", token_ids=[1, 2]), part("lo", token_ids=[3]), part(".", 0, "stop", token_ids=[4], stop_reason=200012)]),
    "length": ([whole("Hel", reason="length")], [part("Hel"), part("", reason="length")]),
    "two": ([whole("a"), whole("b", 1)], [part("b", 1), part("a"), part("", 0, "stop"), part("", 1, "stop")]),
}


class Server(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        unstreamed, streamed = ANSWERS[asked["model"]]
        base = {"id": "x", "created": 1, "model": asked["model"]}
        if asked.get("stream"):
            kind = "text/event-stream"
            chunks = [{**base, "object": "chat.completion.chunk", "choices": [choice]} for choice in streamed]
            body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        else:
            kind, body = "application/json", json.dumps({**base, "object": "chat.completion", "choices": unstreamed})
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


server = http.server.HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", max_retries=0)
QUESTION = [{"role": "user", "content": "Say hello."}]


def unstreamed(model):
    return client.chat.completions.create(model=model, messages=QUESTION).choices


def streamed(model):
    with client.chat.completions.stream(model=model, messages=QUESTION) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion().choices


def said(ask, model, read):
    try:
        return read(ask(model))
    except (openai.OpenAIError, IndexError) as error:
        return type(error).__name__


seen = []
for name, ask in (("unstreamed", unstreamed), ("stream helper", streamed)):
    (choice,) = ask("fields")
    fields = [choice.message.role, choice.token_ids, getattr(choice, "stop_reason", None)]
    length = said(ask, "length", lambda choices: choices[0].finish_reason)
    two = said(ask, "two", lambda choices: [choice.message.content for choice in choices])
    seen.append([*fields, length, two])
    print(name + ": role {}, token_ids {}, stop_reason {}; length: {}; n=2: {}".format(*seen[-1]))
raw = client.chat.completions.create(model="fields", messages=QUESTION, stream=True)
tokens = [token for chunk in raw for token in chunk.choices[0].token_ids]
server.shutdown()
if tokens != [1, 2, 3, 4] or seen != [
    ["assistant", [1, 2, 3, 4], 200012, "length", ["a", "b"]],
    ["assistant" * 3, [1, 2], None, "LengthFinishReasonError", "IndexError"],
]:
    sys.exit("changed: what openai's stream helper makes of a stream")
PYTHON
