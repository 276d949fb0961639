"""One HTTP/1.1 connection that is asked one thing after another and stamps every piece of an answer when its bytes arrive.

The parser is httptools'. The transport is the event loop's own, because a client that measures needs two instants which HTTP
libraries keep to themselves: when a request's bytes went to the socket, and when the answer's came out of it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from urllib.parse import SplitResult

import httptools

Piece = Callable[[int, bytes, float], None]
"""Told (status, piece of the body, instant of its arrival); the instant is a performance counter's reading, in seconds."""
FRAMED = {b"content-length", b"transfer-encoding"}


class Connection(asyncio.Protocol):
    """A connection to one server. closed: it takes no further request.  sent: when the last request went out."""

    def __init__(self) -> None:
        self.closed = False
        self.sent = 0.0
        self._answer: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, url: SplitResult) -> Connection:
        """Connect to a URL's host. OSError where nothing listens."""
        secure = ssl.create_default_context() if url.scheme == "https" else None
        _, made = await asyncio.get_running_loop().create_connection(cls, url.hostname or "", url.port or (443 if secure else 80), ssl=secure)
        return made

    async def ask(self, request: bytes, piece: Piece) -> int:
        """Send a whole request and return the answer's status at its end. ConnectionError where it breaks off or is no HTTP."""
        self._parser = httptools.HttpResponseParser(self)
        self._piece, self._status, self._framed = piece, 0, False
        self._answer = asyncio.get_running_loop().create_future()
        self.sent = time.perf_counter()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close it; an answer that is still awaited fails."""
        self.closed = True
        self._transport.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter()
        if self._answer is None or self._answer.done():
            self.close()  # bytes that nobody asked for: what follows them would be taken for an answer
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP answer: {error.__context__ or error}")

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._answer is None or self._answer.done():
            return
        if error is None and self._status and not self._framed:
            self._answer.set_result(self._status)  # an answer without a length ends with its connection
        else:
            self._fail(f"the connection broke off{f': {error}' if error else ''}")

    def _fail(self, why: str) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(why))

    # What the parser calls.

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._framed = self._framed or name.lower() in FRAMED

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._piece(self._status, body, self._now)

    def on_message_complete(self) -> None:
        assert self._answer is not None
        if not self._parser.should_keep_alive():
            self.close()
        if not self._answer.done():
            self._answer.set_result(self._status)
