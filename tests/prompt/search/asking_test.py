"""Asking somebody: what is said to him, what is heard, and what goes wrong."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from danlu.errors import DanluError
from danlu.prompt.search.asking import Endpoint, asked, endpoint, question
from danlu.prompt.search.harness import Score
from danlu.settings import build

REPLY = "Here you are:\n1. {text} All in all it was {mask}.\n- {text} So {mask}!\nno hole at all\n"


class Server(BaseHTTPRequestHandler):
    reply: Any = None
    heard: list[tuple[str, Any, str | None]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.heard.append((self.path, body, self.headers.get("Authorization")))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(type(self).reply).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    Server.heard.clear()
    Server.reply = {"choices": [{"message": {"content": REPLY}}]}
    server = HTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_endpoint(url: str, tmp_path: Path) -> None:
    """The best so far are told, the key is read from its file, and lines with holes are heard."""
    (tmp_path / "key").write_text("secret\n")
    settings = Endpoint(url=url, model="tiny", key=tmp_path / "key", temperature=0.1)
    found = endpoint(settings, "feelings")([("{text} It was {mask}.", 0.75)], 5)
    assert found == ["{text} All in all it was {mask}.", "{text} So {mask}!"]
    (path, body, key) = Server.heard[0]
    assert (path, key, body["model"], body["temperature"]) == ("/v1/chat/completions", "Bearer secret", "tiny", 0.1)
    assert "0.750  {text} It was {mask}." in body["messages"][0]["content"]
    assert "feelings" in body["messages"][0]["content"]


@pytest.mark.parametrize("reply", [{}, [], {"choices": []}, {"choices": [{"message": None}]}])
def test_nonsense(url: str, reply: Any) -> None:
    Server.reply = reply
    with pytest.raises(DanluError, match="E2354"):
        endpoint(Endpoint(url=url), "x")([("{mask}", 0.0)], 1)


def test_nobody_there() -> None:
    with pytest.raises(DanluError, match="E2354"):
        endpoint(Endpoint(url="http://127.0.0.1:9", seconds=2), "x")([("{mask}", 0.0)], 1)


def test_only_addresses() -> None:
    with pytest.raises(DanluError, match="E110"):
        build(Endpoint, {"url": "file:///etc/passwd"})


def test_the_worse_first() -> None:
    said = question([("best", 0.9), ("worse", 0.5)], 3, "x")
    assert said.index("worse") < said.index("best")


def test_asked_once_a_turn() -> None:
    """The same question in a later turn is a new one, so that somebody who draws may say something else."""
    heard: list[Any] = []
    mutator = asked(lambda held, count: [f"{len(heard)}"], lambda what, ask: (heard.append(what), ask()[0])[1])
    held = [("{mask}", Score(0, 0.5))]
    assert mutator(held, 2) != mutator(held, 2)
    assert [each["turn"] for each in heard] == [0, 1]
