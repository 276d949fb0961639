"""Ports: free or not, who holds one, and addresses that are not ours."""

from __future__ import annotations

import os
import socket

import psutil
import pytest

from tunefork.base import ports
from tunefork.base.errors import ServeError


def test_a_listener_takes_a_port_and_its_end_frees_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not ports.is_free("127.0.0.1", port)
        assert [process.pid for process in ports.listeners(port)] == [os.getpid()]
    assert ports.is_free("127.0.0.1", port)


def test_a_listener_on_all_addresses_takes_the_port_on_each() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert not ports.is_free("127.0.0.1", listener.getsockname()[1])


def test_a_closed_connections_wait_state_does_not_take_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            accepted.close()  # the side that closes first keeps TIME_WAIT
    assert ports.is_free("127.0.0.1", port)


@pytest.mark.parametrize(("first", "second", "same"), [
    ("http://localhost:8000", "http://127.0.0.1:8000", True), ("http://127.0.0.1:8000", "http://127.0.0.1:8001", False),
    (f"http://{socket.gethostname()}:8000", "http://[::1]:8000", True), ("http://127.0.0.1", "http://127.0.0.1:80/v1", True),
    ("http://192.0.2.1:8000", "http://192.0.2.2:8000", False), ("http://192.0.2.1:8000", "http://192.0.2.1:8000/v1", True),
    ("http://no-such-host.invalid:1", "http://no-such-host.invalid:1", True), ("http://127.0.0.1:80", "https://127.0.0.1", False),
])
def test_two_names_of_one_server_are_one(first: str, second: str, same: bool) -> None:
    assert ports.same_server(first, second) is same


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ServeError, match=r"cannot listen on 192\.0\.2\.1:8000"):
        ports.is_free("192.0.2.1", 8000)


def test_free_port_can_be_had() -> None:
    assert ports.is_free("127.0.0.1", ports.free_port("127.0.0.1"))


def test_description_has_pid_and_a_short_command_line() -> None:
    said = ports.describe(psutil.Process())
    assert said.startswith(f"pid {os.getpid()} (")
    assert len(said) < 110
