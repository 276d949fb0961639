"""A stand-in for `vllm serve` with the faults that supervision must survive.

    python fake_server.py PORT BEHAVIOUR [MODEL]

good: answers /health and /v1/models.  dies: exits 3 with an error.  mute: never answers.  stubborn: ignores SIGINT and SIGTERM.
brood: good, with a child that starts a grandchild in its own session and dies, so that the grandchild is orphaned.
loud: megabytes of output, then dies.  late: dies one second after it was ready.  other: serves another model.
"""

import json
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Timer

ORPHAN = ("import signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN); "
          "time.sleep(600)")
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {ORPHAN!r}, 'orphan-of-fake', sys.argv[1]], start_new_session=True)"


def handler(model: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"data": [{"id": model}]} if self.path == "/v1/models" else {}).encode()
            self.answer(body)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(json.dumps({
                "choices": [{"text": asked["prompt"] + "!", "finish_reason": "length"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": asked["max_tokens"]},
            }).encode())

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            return

    return Handler


def main() -> None:
    port, behaviour, model = int(sys.argv[1]), sys.argv[2], (sys.argv[3:] or ["tiny"])[0]
    print("fake server starting as", behaviour, flush=True)
    if behaviour == "dies":
        sys.exit("the engine cannot start: no such device\n" * 2)
    if behaviour == "loud":
        for number in range(60_000):
            print(f"line {number} " + "x" * 100)
        sys.exit(3)
    if behaviour == "mute":
        time.sleep(600)
    if behaviour == "stubborn":
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
    if behaviour == "brood":
        subprocess.run([sys.executable, "-c", PARENT, str(port)], check=True)
    server = HTTPServer(("127.0.0.1", port), handler("someone-else" if behaviour == "other" else model))
    if behaviour == "late":
        Timer(1.5, server.shutdown).start()
    try:
        server.serve_forever(poll_interval=0.05)
    except KeyboardInterrupt:
        print("interrupted, leaving in order", flush=True)
        return
    sys.exit("the engine died")


main()
