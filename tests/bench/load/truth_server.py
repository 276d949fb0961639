"""A server of known times: the first token TTFT after the request came, then one every TPOT; it keeps when it sent each, so that truth needs no trust.

    python truth_server.py PORT TTFT_MS TPOT_MS

A request came when the kernel says so (SO_TIMESTAMPNS), however late this process read it. GET answers {"late_ms", "cpu_s", "requests", "ttft_ms",
"tpot_ms", "e2e_ms"}: the greatest lateness of any token, and medians over the requests that were answered, from the kernel's instant to the one
before each ``send``. One thread, epoll and a heap: a token costs 10 us, which is mostly the kernel's.
"""

import heapq
import json
import select
import socket
import statistics
import struct
import sys
import time

TTFT, TPOT = (float(word) / 1000 for word in sys.argv[2:4])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SO_TIMESTAMPNS, SPACE = 35, 64


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


TOKEN = chunk(b"data: " + json.dumps({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "fake", "choices": [
    {"index": 0, "text": " token", "logprobs": None, "finish_reason": None, "stop_reason": None}], "usage": None}).encode() + b"\n\n")


def ending(fed: int, made: int) -> bytes:
    usage = {"prompt_tokens": fed, "completion_tokens": made, "total_tokens": fed + made}
    last = json.dumps({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "fake", "choices": [], "usage": usage}).encode()
    return chunk(b"data: " + last + b"\n\n") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Connection:
    """A client's. came, first: instants of the request that is being answered, by the monotonic clock."""

    def __init__(self, taken: socket.socket) -> None:
        self.socket, self.read, self.unsent = taken, b"", b""
        self.came = self.first = 0.0
        self.left = self.made = self.fed = 0

    def send(self, data: bytes) -> None:
        """Send now; what the kernel does not take goes with the next."""
        self.unsent += data
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent):]
        except BlockingIOError:
            pass
        except OSError:
            self.left = 0


class Server:
    def __init__(self, port: int) -> None:
        self.listening = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listening.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listening, select.EPOLLIN)
        self.open: dict[int, Connection] = {}
        self.due: list[tuple[float, int, Connection]] = []
        self.drawn, self.late = 0, 0.0
        self.answered: list[tuple[float, float, float]] = []

    def serve(self) -> None:
        while True:
            wait = max(0.0, self.due[0][0] - time.monotonic()) if self.due else 1.0
            for number, _ in self.epoll.poll(wait):
                if number == self.listening.fileno():
                    self.accept()
                elif number in self.open:
                    self.receive(number, self.open[number])
            while self.due and self.due[0][0] <= time.monotonic():
                at, _, to = heapq.heappop(self.due)
                self.token(at, to)

    def accept(self) -> None:
        while True:
            try:
                taken, _ = self.listening.accept()
            except BlockingIOError:
                return
            taken.setblocking(False)
            taken.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open[taken.fileno()] = Connection(taken)
            self.epoll.register(taken, select.EPOLLIN)

    def receive(self, number: int, one: Connection) -> None:
        try:
            data, stamps, _, _ = one.socket.recvmsg(1 << 20, SPACE)
        except BlockingIOError:
            return
        except OSError:
            data, stamps = b"", []
        if not data:
            self.epoll.unregister(number)
            one.socket.close()
            one.left = 0
            del self.open[number]
            return
        now = time.monotonic()
        for _, _, words in stamps:
            seconds, nanoseconds = struct.unpack("qq", words[:16])
            now -= max(0.0, time.time() - (seconds + nanoseconds / 1e9))
        one.read += data
        head, found, body = one.read.partition(b"\r\n\r\n")
        if not found:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        if len(body) < length:
            return
        one.read = body[length:]
        if not head.startswith(b"POST"):
            said = json.dumps(self.truth()).encode()
            one.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
            return
        asked = json.loads(body[:length])
        one.fed = len(asked["prompt"]) if isinstance(asked["prompt"], list) else len(asked["prompt"].split())
        one.left = one.made = int(asked.get("max_tokens") or asked.get("max_completion_tokens") or 16)
        one.came, one.first = now, 0.0
        one.send(HEAD)
        self.plan(now + TTFT, one)

    def plan(self, at: float, one: Connection) -> None:
        self.drawn += 1
        heapq.heappush(self.due, (at, self.drawn, one))

    def token(self, at: float, one: Connection) -> None:
        if not one.left:
            return
        now = time.monotonic()
        self.late = max(self.late, now - at)
        one.first = one.first or now
        one.left -= 1
        if one.left:
            one.send(TOKEN)
            self.plan(at + TPOT, one)
            return
        self.answered.append((one.first - one.came, (now - one.first) / max(1, one.made - 1), now - one.came))
        one.send(TOKEN + ending(one.fed, one.made))

    def truth(self) -> dict[str, object]:
        names = ("ttft_ms", "tpot_ms", "e2e_ms")
        medians = [1000 * statistics.median(values) for values in zip(*self.answered, strict=True)] if self.answered else [0.0] * 3
        return {"data": [{"id": "fake"}], "late_ms": 1000 * self.late, "cpu_s": time.process_time(), "requests": len(self.answered),
                **dict(zip(names, medians, strict=True))}


Server(int(sys.argv[1])).serve()
