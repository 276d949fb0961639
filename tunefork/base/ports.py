"""TCP ports: whether one can be had, which is free, and who holds it."""

from __future__ import annotations

import errno
import shlex
import socket
from urllib.parse import urlsplit

import psutil

from tunefork.base import redact
from tunefork.base.errors import ServeError


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; a host that is not this machine's raises ServeError."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # A bind to one address succeeds beside a listener on another; listening is what vLLM does next.
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise ServeError(f"cannot listen on {host}:{port}: {error.strerror or error}",
                         "--host 127.0.0.1, or --port above 1023") from None
    return True


def free_port(host: str) -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def reached(url: str) -> tuple[frozenset[str], int | None]:
    """(addresses, port) at which a URL's host is reached; every address of this machine is "here", whatever name stands for it.

    A host that no name server knows is its own address.
    """
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.hostname or ""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        found = {host}
    own = {entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries}
    return frozenset("here" if one in own or one.startswith("127.") else one for one in found), port


def same_server(first: str, second: str) -> bool:
    """Whether two URLs reach one port of one host."""
    (one, port), (other, its_port) = reached(first), reached(second)
    return port == its_port and bool(one & other)


def listeners(port: int) -> list[psutil.Process]:
    """The processes that listen on a port, as far as this user may know them."""
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return []
    pids = {one.pid for one in sockets if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid}
    found: list[psutil.Process] = []
    for pid in sorted(pids):
        try:
            found.append(psutil.Process(pid))
        except psutil.Error:
            continue
    return found


def describe(process: psutil.Process) -> str:
    """A process as "pid 12 (python -m http.server)"."""
    try:
        line = shlex.join(redact.words(process.cmdline())) or process.name()
    except psutil.Error:
        line = "unknown program"
    return f"pid {process.pid} ({line if len(line) <= 80 else line[:77] + '...'})"


def require_free(host: str, port: int) -> None:
    """Raise ServeError when something already listens there, and name it."""
    if is_free(host, port):
        return
    holders = ", ".join(map(describe, listeners(port))) or "a process that this user cannot see"
    raise ServeError(f"port {port} on {host} is taken by {holders}", f"--port {free_port(host)}, or stop that process")
