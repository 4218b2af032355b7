"""For the whole suite: `--full` for the long versions, one thread, and no socket to the outside."""

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="the long versions: more random cases, every instant, every byte"
    )


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether the long version of a test is wanted."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny models are fastest on one core, and results do not depend on how many there are."""
    torch.set_num_threads(1)


class OutsideError(OSError):
    """A test reached for the network."""


def is_local(address: Any) -> bool:
    """Loopback and the machine's own sockets; names are not looked up."""
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Sockets connect to this machine only; looking up any other name fails as it would without a network."""
    patch = pytest.MonkeyPatch()
    look_up = socket.getaddrinfo

    def guarded(connect: Any) -> Any:
        def connect_locally(self: socket.socket, address: Any) -> Any:
            if not is_local(address):
                raise OutsideError(f"a test connects to {address}")
            return connect(self, address)

        return connect_locally

    def look_up_locally(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None and not is_local((host.decode() if isinstance(host, bytes) else host,)):
            raise socket.gaierror(socket.EAI_NONAME, f"a test looks up {host}")
        return look_up(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    patch.setattr(socket, "getaddrinfo", look_up_locally)
    yield
    patch.undo()
