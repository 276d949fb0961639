#!/bin/bash
# AIPerf: inter-token latency is divided by the tokens that its own tokenizer finds in the text, not by the server's.
#
# Guess written down before: with a server that reports usage.completion_tokens, aiperf's inter_token_latency is
#   (E2E - TTFT) / (tokens - 1) with the server's tokens, as vllm bench serve and guidellm have it: 50 ms here.
# Versions: aiperf 0.13.0, CPython 3.11, Linux.
# Behaviour: by default the answer's text is tokenized again with --tokenizer. Where that gives another number of tokens
#   than the server made, ITL, throughput and output length are off by that factor, with exit code 0: here 192 tokens for
#   32, and 8.1 ms for 50. The server's count is kept beside it (usage_completion_tokens). --use-server-token-count makes
#   it 50 ms. inter_chunk_latency is right in both. Texts do not tokenize back for a model that is made to go on past
#   its end (ignore_eos), for random weights, and for tokens that are special or half a character.
# Output seen (2026-11-30): "default: 192 tokens, ITL 8.1 ms; server's count: 32 tokens, ITL 50.0 ms; truth 32, 50"
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check aiperf==0.13.0 || exit 2
cat > server.py <<'PY'
"""The first token after 100 ms, one more every 50 ms, as many as were asked for; usage at the end."""
import asyncio
import json


async def answer(reader, writer):
    while head := await reader.readuntil(b"\r\n\r\n"):
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        asked = json.loads(await reader.readexactly(int(fields.get(b"content-length", b"0"))) or b"{}")
        if not head.startswith(b"POST"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            continue
        made = asked.get("max_tokens") or 32
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        about = {"id": "1", "object": "text_completion", "created": 1, "model": "known"}
        for at in range(made):
            await asyncio.sleep(begun + 0.1 + 0.05 * at - loop.time())
            choice = {"index": 0, "text": " token", "logprobs": None, "finish_reason": None}
            writer.write(b"data: " + json.dumps({**about, "choices": [choice], "usage": None}).encode() + b"\n\n")
        usage = {"prompt_tokens": 64, "completion_tokens": made, "total_tokens": 64 + made}
        writer.write(b"data: " + json.dumps({**about, "choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n")
        await writer.drain()
        break
    writer.close()


async def main():
    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


asyncio.run(main())
PY
venv/bin/python - <<'PY'
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

octets = sorted(pre_tokenizers.ByteLevel.alphabet())
made = Tokenizer(models.BPE({octet: at for at, octet in enumerate(octets)}, []))
made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained("tokenizer")
PY
venv/bin/python server.py > port 2> /dev/null &
server=$!
while [ ! -s port ]; do sleep 0.1; done
measure() {  # FOLDER OPTIONS
    no_proxy=127.0.0.1 venv/bin/aiperf profile --model known --url "http://127.0.0.1:$(cat port)" --endpoint-type completions --streaming \
        --tokenizer "$work/tokenizer" --concurrency 2 --request-count 6 --synthetic-input-tokens-mean 64 --output-tokens-mean 32 \
        --artifact-dir "$work/$1" --ui simple "${@:2}" > "$1.log" 2>&1 || { tail -20 "$1.log" >&2; exit 2; }
}
measure own
measure servers --use-server-token-count
venv/bin/python - <<'PY'
import json
import sys


def said(folder):
    found = json.load(open(f"{folder}/profile_export_aiperf.json"))
    return found["output_sequence_length"]["p50"], found["inter_token_latency"]["p50"]


(own, itl), (servers, truth) = said("own"), said("servers")
print(f"default: {own:.0f} tokens, ITL {itl:.1f} ms; server's count: {servers:.0f} tokens, ITL {truth:.1f} ms; truth 32, 50")
if not (own == 192 and itl < 10 and servers == 32 and 48 < truth < 55):
    sys.exit("CHANGED: expected 192 tokens and about 8 ms, then 32 and about 50 ms")
PY
