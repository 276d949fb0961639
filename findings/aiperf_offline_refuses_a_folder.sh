#!/bin/bash
# AIPerf: under HF_HUB_OFFLINE a tokenizer in a local folder is refused as if it were a name on the hub.
#
# Guess written down before: HF_HUB_OFFLINE=1 forbids asking the hub; a folder on this disk needs no hub, so --tokenizer
#   FOLDER works offline as it does online, as it does for transformers itself, vllm bench serve and guidellm.
# Versions: aiperf 0.13.0 with transformers 5.24.0, CPython 3.11, Linux.
# Behaviour: without the variable the folder is loaded and the run goes through. With HF_HUB_OFFLINE=1 the start says
#   "[OK] Tokenizer FOLDER detected", and then the dataset manager ends with HFValidationError ("Repo id must be in the
#   form 'repo_name' or 'namespace/repo_name'"), exit code 1; with HF_HUB_OFFLINE=0, which means "not offline", likewise.
#   transformers loads the same folder in the same environment. So on a machine without a network, leave the variable
#   out and give a folder.
# Output seen (2026-11-30): "transformers offline: loads; aiperf: unset 0, HF_HUB_OFFLINE=1 1 (HFValidationError), HF_HUB_OFFLINE=0 1 (HFValidationError)"
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check aiperf==0.13.0 transformers==5.24.0 || exit 2
cat > server.py <<'PY'
"""Streams as many tokens as were asked for; usage at the end."""
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        made = asked.get("max_tokens") or 4
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        about = {"id": "1", "object": "text_completion", "created": 1, "model": "known"}
        choice = {"index": 0, "text": " token", "logprobs": None, "finish_reason": None}
        for _ in range(made):
            self.wfile.write(b"data: " + json.dumps({**about, "choices": [choice], "usage": None}).encode() + b"\n\n")
        usage = {"prompt_tokens": 8, "completion_tokens": made, "total_tokens": 8 + made}
        self.wfile.write(b"data: " + json.dumps({**about, "choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n")

    def log_message(self, *words):
        pass


listening = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
print(listening.server_address[1], flush=True)
listening.serve_forever()
PY
cat > make.py <<'PY'
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

octets = sorted(pre_tokenizers.ByteLevel.alphabet())
made = Tokenizer(models.BPE({octet: at for at, octet in enumerate(octets)}, []))
made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained("tokenizer")
PY
venv/bin/python make.py 2> /dev/null
HF_HUB_OFFLINE=1 venv/bin/python -c "from transformers import AutoTokenizer; AutoTokenizer.from_pretrained('$work/tokenizer')" 2> /dev/null
venv/bin/python server.py > port 2> /dev/null &
server=$!
while [ ! -s port ]; do sleep 0.1; done
measure() {  # FOLDER VARIABLES...: prints the exit code, and the error's name where there is one
    local code=0
    env -u HF_HUB_OFFLINE no_proxy=127.0.0.1 "${@:2}" venv/bin/aiperf profile --model known --url "http://127.0.0.1:$(cat port)" \
        --endpoint-type completions --streaming --tokenizer "$work/tokenizer" --concurrency 1 --request-count 2 --synthetic-input-tokens-mean 8 \
        --output-tokens-mean 4 --artifact-dir "$work/$1" --ui simple > "$1.log" 2>&1 || code=$?
    echo "$code$(grep -o -m1 HFValidationError "$1.log" | sed 's/.*/ (&)/' || true)"
}
said="transformers offline: loads; aiperf: unset $(measure a A=1), HF_HUB_OFFLINE=1 $(measure b HF_HUB_OFFLINE=1), HF_HUB_OFFLINE=0 $(measure c HF_HUB_OFFLINE=0)"
echo "$said"
wanted="transformers offline: loads; aiperf: unset 0, HF_HUB_OFFLINE=1 1 (HFValidationError), HF_HUB_OFFLINE=0 1 (HFValidationError)"
[ "$said" = "$wanted" ] || { echo "CHANGED: expected $wanted"; exit 1; }
