"""A server that streams tokens at a set pace, with the faults that a client must survive.

    python streamer.py PORT MILLISECONDS [good | error | cut | hang | nousage | dies | separators | spoils FILE | odd JSON]

error: every third completion answers 500.  cut: every third stream ends after one token.  hang: a completion never ends.
separators: texts with U+2028 as it is.  spoils FILE: in the third server that
counts itself in FILE, the fifth completion answers 500.  odd JSON: every third stream has a chunk that is this JSON.  nousage: no usage chunk.  dies: exits at the fifth completion.
"""

import itertools
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PACE = float(sys.argv[2]) / 1000
FAULT = (sys.argv[3:] or ["good"])[0]
NUMBER = itertools.count(1)
SPOILED = False
if FAULT == "spoils":
    with open(sys.argv[4], "a+") as tally:
        tally.write("x")
        SPOILED = tally.tell() == 3


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"data": [{"id": "fake"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = next(NUMBER)
        if FAULT == "dies" and number >= 5:
            os._exit(4)
        bad = number % 3 == 0
        if (FAULT == "error" and bad) or (SPOILED and number == 5):
            self.send_error(500, "out of cache blocks")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for _ in range(asked["max_tokens"]):
            time.sleep(3600 if FAULT == "hang" else PACE)
            self.event({"choices": [{"text": "\u2028x" if FAULT == "separators" else "x", "index": 0}]})
            if FAULT == "cut" and bad:
                return
            if FAULT == "odd" and bad:
                self.wfile.write(f"data: {sys.argv[4]}\n\n".encode())
        if FAULT != "nousage":
            self.event({"choices": [], "usage": {"prompt_tokens": len(asked["prompt"]), "completion_tokens": asked["max_tokens"]}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, data: dict) -> None:
        self.wfile.write(f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_args: object) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(poll_interval=0.05)
