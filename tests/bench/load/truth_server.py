"""A server of known times: the first token TTFT after the request came, then one every TPOT, by one event loop that says how late it was.

    python truth_server.py PORT TTFT_MS TPOT_MS

GET /late answers the greatest lateness of any token in ms, and the process's CPU seconds, so that a test knows whose fault a number is.
"""

import asyncio
import json
import sys
import time

TTFT, TPOT = (float(word) / 1000 for word in sys.argv[2:4])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LATE = [0.0]
"""The greatest so far."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


TOKEN = chunk(b"data: " + json.dumps({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "fake", "choices": [
    {"index": 0, "text": " token", "logprobs": None, "finish_reason": None, "stop_reason": None}], "usage": None}).encode() + b"\n\n")


def ending(fed: int, made: int) -> bytes:
    usage = {"prompt_tokens": fed, "completion_tokens": made, "total_tokens": fed + made}
    last = json.dumps({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "fake", "choices": [], "usage": usage}).encode()
    return chunk(b"data: " + last + b"\n\n") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer, self.loop = transport, b"", asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        if len(body) < length:
            return
        self.buffer = body[length:]
        if head.startswith(b"POST"):
            asked = json.loads(body[:length])
            asked.setdefault("max_tokens", asked.get("max_completion_tokens", 16))
            fed = len(asked["prompt"]) if isinstance(asked["prompt"], list) else len(asked["prompt"].split())
            self.transport.write(HEAD)
            due = self.loop.time() + TTFT
            self.loop.call_at(due, self.token, due, asked["max_tokens"], fed, asked["max_tokens"])
            return
        said = json.dumps({"data": [{"id": "fake"}], "late_ms": LATE[0] * 1000, "cpu_s": time.process_time()}).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

    def token(self, due: float, left: int, fed: int, made: int) -> None:
        LATE[0] = max(LATE[0], self.loop.time() - due)
        if self.transport.is_closing():
            return
        if left == 1:
            self.transport.write(TOKEN + ending(fed, made))
            return
        self.transport.write(TOKEN)
        self.loop.call_at(due + TPOT, self.token, due + TPOT, left - 1, fed, made)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


try:
    import uvloop as loops
except ImportError:
    loops = asyncio
loops.run(main())
