"""A stand-in for the ingestion service on loopback: it follows the published protocol, validates every item
(published.py), and answers as a test has scripted it.

    with Ingestion() as service:
        service.script(Answer(503, {"Retry-After": "7"}))  # the next post; then it answers by the rules again
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from published import wrong_with

KEY = "00000000-0000-0000-0000-0000000000ab"
WAIT = 30.0  # seconds a test waits for what must come


@dataclass
class Post:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    items: list[Any]
    size: int  # bytes as sent
    sizes: list[int]  # of the items, as JSON


@dataclass
class Answer:
    """What to answer to one post. Items in `errors` (index: status, message) are not accepted."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # None: a receipt
    errors: Mapping[int, tuple[int, str]] = field(default_factory=dict)
    raw: bytes | None = None  # what to write instead of an answer, before hanging up
    gate: threading.Event | None = None  # to be waited for
    hang_up: bool = False  # close the connection after the answer


class Ingestion:
    """The service. `accepted` are the items it has taken, `posts` everything that came."""

    def __init__(self, context: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> None:
        self.key = KEY
        self.posts: list[Post] = []
        self.accepted: list[Any] = []
        self.rejected: list[str] = []
        self.connections = 0
        self.script_of_answers: deque[Answer] = deque()
        self.always: Answer | None = None
        self.ahead = timedelta(0)  # of the service's clock
        self.any_time = False  # takes items of every age
        self.changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.port = self._server.server_address[1]
        self.endpoint = f"{'http' if context is None else 'https'}://{name}:{self.port}"

    @property
    def connection_string(self) -> str:
        return f"InstrumentationKey={self.key};IngestionEndpoint={self.endpoint}/"

    def script(self, *answers: Answer) -> None:
        """Answer the next posts so."""
        self.script_of_answers.extend(answers)

    def kinds(self) -> list[str]:
        """The types of the items taken, in order."""
        return [item["data"]["baseType"] for item in self.accepted]

    def of_kind(self, kind: str) -> list[Any]:
        """The items taken of one type."""
        return [item for item in list(self.accepted) if item["data"]["baseType"] == kind]

    def requests(self) -> list[Any]:
        """The data of the requests taken."""
        return [item["data"]["baseData"] for item in self.of_kind("RequestData")]

    def wait_for(self, condition: Any, seconds: float = WAIT) -> None:
        """Until it holds; it is asked again after every post."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), f"not within {seconds} s: {self!r}"

    # ------------------------------------------------------------ answering

    def answer(self, post: Post) -> tuple[Answer, bytes]:
        """What to answer to a post, and its body."""
        with self.changed:
            answer = self.script_of_answers.popleft() if self.script_of_answers else self.always
            answer = answer or Answer()
            self.posts.append(post)
            if answer.raw is not None:
                return answer, b""
            if answer.body is not None or answer.status not in (200, 206):
                return answer, receipt(len(post.items), answer.errors) if answer.body is None else answer.body
            errors = self._validate(post) | dict(answer.errors)
            taken = [item for index, item in enumerate(post.items) if index not in errors]
            self.accepted.extend(taken)
        status = 200 if not errors else 206 if taken else 400
        answer = Answer(status, answer.headers, gate=answer.gate, hang_up=answer.hang_up)
        return answer, receipt(len(post.items), errors)

    def _validate(self, post: Post) -> dict[int, tuple[int, str]]:
        found = {
            index: (400, wrong)
            for index, item in enumerate(post.items)
            if (wrong := wrong_with(item, post.sizes[index], None if self.any_time else self.now()))
            or (wrong := self._stranger(item))
        }
        self.rejected += [wrong for _, wrong in found.values()]
        return found

    def now(self) -> datetime:
        """What time the service has."""
        return datetime.now(timezone.utc) + self.ahead

    def _stranger(self, item: Any) -> str:
        return "" if str(item.get("iKey")).lower() == self.key else "100: Invalid instrumentation key"

    def told(self) -> None:
        with self.changed:
            self.changed.notify_all()

    # ------------------------------------------------------------ its life

    def __enter__(self) -> Ingestion:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Gone, with every connection."""
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close what is open; new connections are welcome."""
        for connection in list(self._server.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __repr__(self) -> str:
        return f"<Ingestion {self.endpoint} · {len(self.posts)} posts · {self.kinds()} · {self.rejected}>"


def receipt(received: int, errors: Mapping[int, tuple[int, str]]) -> bytes:
    """The body of an answer."""
    return json.dumps(
        {
            "itemsReceived": received,
            "itemsAccepted": received - len(errors),
            "errors": [
                {"index": index, "statusCode": status, "message": message}
                for index, (status, message) in sorted(errors.items())
            ],
        }
    ).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: Ingestion

    def __init__(self, *arguments: Any) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        self.service.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is no news


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        service = self.server.service
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer, content = service.answer(self._post(body))
        if answer.gate is not None:
            answer.gate.wait(WAIT)
        if answer.raw is not None:
            self.wfile.write(answer.raw)
            self.close_connection = True
        else:
            self._write(answer, content)
        service.told()

    def _post(self, body: bytes) -> Post:
        headers = {name.lower(): value for name, value in self.headers.items()}
        plain = zlib.decompress(body, 31) if headers.get("content-encoding") == "gzip" else body
        items = json.loads(plain)
        sizes = [len(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()) for item in items]
        return Post(self.path, headers, items, len(body), sizes)

    def _write(self, answer: Answer, content: bytes) -> None:
        self.send_response_only(answer.status)
        self.send_header("Date", formatdate(self.server.service.now().timestamp(), usegmt=True))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        if answer.hang_up:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass
