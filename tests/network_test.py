"""The suite's own guard: nothing reaches the outside, loopback works."""

import socket

import pytest


def test_outside_is_out_of_reach() -> None:
    with socket.socket() as outside, pytest.raises(OSError, match="a test connects"):
        outside.connect(("192.0.2.1", 80))
    with pytest.raises(socket.gaierror):
        socket.create_connection(("example.org", 80), timeout=1)


def test_loopback_is_in_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
