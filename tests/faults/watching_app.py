"""Two applications that write down everything their server does to them, in the file that WATCHED names.

One path for each way of answering, right and wrong; `wsgi` and `asgi` are what servers are given. A line is
one event. What differs between two servers anyway (ports, addresses of objects) is left out.
"""

from __future__ import annotations

import contextvars
import io
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PLAIN = ("Content-Type", "text/plain")
OTHERWISE = {"REMOTE_PORT", "SERVER_PORT"}  # in any two servers
_file = os.open(os.environ.get("WATCHED", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def saw(*event: object) -> None:
    """Write an event down."""
    line = " ".join(map(str, event)).encode("utf-8", "backslashreplace").replace(b"\n", b"\\n")
    os.write(_file, line + b"\n")


def shown(value: object) -> str:
    """A value as far as it is the same in two servers."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {shown(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(shown, value))})"
    if isinstance(value, (str, bytes, int, float, type(None))):
        return repr(value)
    return "<callable>" if callable(value) else f"<{type(value).__module__}.{type(value).__qualname__}>"


def variables() -> list[str]:
    """The context variables that are set."""
    return sorted(variable.name for variable in contextvars.copy_context())


# ---------------------------------------------------------------- WSGI


class Parts:
    """An iterable with a close, that says when it is used."""

    def __init__(self, *parts: Any, fails: bool = False) -> None:
        self._parts = iter(parts)
        self._fails = fails

    def __iter__(self) -> Iterator[Any]:
        saw("iterated")
        return self

    def __next__(self) -> Any:
        part = next(self._parts, None)
        saw("next", shown(part))
        if part is not None:
            return part
        if self._fails:
            raise RuntimeError("too late")
        raise StopIteration

    def close(self) -> None:
        """Once, whatever happens."""
        saw("closed")


def wsgi_boom(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    raise ValueError("boom")


def wsgi_written(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    write = start("200 OK", [PLAIN])
    saw("write", shown(write(b"written")))
    return [b" and returned"]


def wsgi_twice(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    start("200 OK", [PLAIN])
    try:
        raise KeyError("first")
    except KeyError as error:
        start("503 Sorry", [PLAIN], (type(error), error, error.__traceback__))
    return [b"sorry"]


def wsgi_twice_wrongly(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    start("200 OK", [PLAIN])
    start("200 OK", [PLAIN])
    return [b"hello"]


def wsgi_file(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    start("200 OK", [PLAIN])
    saw("file wrapper", shown(environ.get("wsgi.file_wrapper")))
    return environ["wsgi.file_wrapper"](io.BytesIO(b"f" * 5000), 1000)


def wsgi_echo(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    body = environ["wsgi.input"].read()
    start("200 OK", [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def wsgi_lines(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    body = environ["wsgi.input"]
    lines = [body.readline(5), *body.readlines(), body.read(1)]
    saw("lines", shown(lines))
    start("200 OK", [PLAIN])
    return Parts(*(line for line in lines if line))


def wsgi_part(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    saw("part", shown(environ["wsgi.input"].read(3)))
    start("200 OK", [PLAIN])
    return Parts(b"part")


def wsgi_generator(environ: Environ, start: Callable[..., Any]) -> Iterator[Any]:
    start("200 OK", [PLAIN])
    yield b"late"


def answering(status: str, *headers: tuple[str, Any], body: Any) -> Callable[..., Iterable[Any]]:
    """An application that answers so; `body` is made anew each time."""

    def answer(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
        saw("start_response", shown(start(status, list(headers))))
        return body()

    return answer


WSGI = {
    "/boom": wsgi_boom,
    "/written": wsgi_written,
    "/twice": wsgi_twice,
    "/twice-wrongly": wsgi_twice_wrongly,
    "/file": wsgi_file,
    "/echo": wsgi_echo,
    "/lines": wsgi_lines,
    "/part": wsgi_part,
    "/parts": answering("200 OK", PLAIN, body=lambda: Parts(b"one", b"", b"two")),
    "/fails": answering("200 OK", PLAIN, body=lambda: Parts(b"one", fails=True)),
    "/fails-at-once": answering("200 OK", PLAIN, body=lambda: Parts(fails=True)),
    "/text": answering("200 OK", PLAIN, body=lambda: Parts("no bytes")),
    "/nothing": answering("200 OK", PLAIN, body=lambda: None),
    "/empty": answering("204 No Content", body=list),
    "/unchanged": answering("304 Not Modified", ("ETag", '"x"'), body=lambda: [b""]),
    "/too-long": answering("200 OK", PLAIN, ("Content-Length", "3"), body=lambda: Parts(b"longer")),
    "/too-short": answering("200 OK", PLAIN, ("Content-Length", "9"), body=lambda: Parts(b"short")),
    "/odd-status": answering("999", PLAIN, body=lambda: [b"odd"]),
    "/no-status": answering("", PLAIN, body=lambda: [b"odd"]),
    "/odd-header": answering("200 OK", ("X-Odd", "one\r\ntwo: three"), body=lambda: [b"odd"]),
    "/number-header": answering("200 OK", ("X-Odd", 17), body=lambda: [b"odd"]),
    "/no-start": lambda environ, start: [b"never started"],
    "/generator": wsgi_generator,
}


def wsgi(environ: Environ, start: Callable[..., Any]) -> Iterable[Any]:
    """Answer by path."""
    saw("called", shown({key: value for key, value in environ.items() if key not in OTHERWISE}))
    saw("variables", variables())
    page = WSGI.get(environ.get("PATH_INFO", ""), answering("200 OK", PLAIN, body=lambda: [b"hello"]))
    try:
        return page(environ, start)
    except BaseException as error:
        saw("raises", repr(error))
        raise


# ---------------------------------------------------------------- ASGI


class Ends:
    """Both ends of a connection, each use of them written down."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._body = b""

    async def hear(self) -> Message:
        """What is there; a body counts as a whole: how it is cut is chance."""
        message = await self._tried("receive", self._receive())
        if message["type"] == "http.request":
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return message
        saw("received", shown(message | {"body": self._body}))
        return message

    async def say(self, kind: str, **message: Any) -> None:
        saw("sent", shown(await self._tried("send", self._send({"type": kind, **message}))))

    async def start(self, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        headers = ((b"content-type", b"text/plain"), *headers)
        await self.say("http.response.start", status=status, headers=list(headers))

    async def body(self, body: bytes = b"", more: bool = False) -> None:
        await self.say("http.response.body", body=body, more_body=more)

    async def _tried(self, what: str, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except BaseException as error:
            saw(what, "raises", repr(error))
            raise


async def hear_all(ends: Ends) -> bytes:
    """The whole body, or what there is of it when the client leaves."""
    body = b""
    while (message := await ends.hear())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


async def asgi_hello(ends: Ends) -> None:
    await ends.start()
    await ends.body(b"hello")


async def asgi_echo(ends: Ends) -> None:
    body = await hear_all(ends)
    await ends.start(200, (b"content-length", str(len(body)).encode()))
    await ends.body(body)


async def asgi_parts(ends: Ends) -> None:
    await ends.start()
    for part in (b"one", b"", b"two"):
        await ends.body(part, more=True)
    await ends.body()


async def asgi_waits(ends: Ends) -> None:
    await hear_all(ends)
    await ends.start()
    await ends.body(b"hello")
    await ends.hear()


async def asgi_boom(ends: Ends) -> None:
    raise ValueError("boom")


async def asgi_fails(ends: Ends) -> None:
    await ends.start()
    await ends.body(b"one", more=True)
    raise RuntimeError("too late")


async def asgi_fails_afterwards(ends: Ends) -> None:
    await asgi_hello(ends)
    raise RuntimeError("much too late")


async def asgi_silent(ends: Ends) -> None:
    return


async def asgi_headless(ends: Ends) -> None:
    await ends.body(b"no head")


async def asgi_unended(ends: Ends) -> None:
    await ends.start()
    await ends.body(b"one", more=True)


async def asgi_twice(ends: Ends) -> None:
    await ends.start()
    await ends.start()


async def asgi_goes_on(ends: Ends) -> None:
    await asgi_hello(ends)
    await ends.body(b"more")


async def asgi_nonsense(ends: Ends) -> None:
    await ends.say("http.response.nonsense")


async def asgi_empty(ends: Ends) -> None:
    await ends.start(204)
    await ends.body()


async def asgi_unchanged(ends: Ends) -> None:
    await ends.start(304)
    await ends.body()


async def asgi_too_long(ends: Ends) -> None:
    await ends.start(200, (b"content-length", b"3"))
    await ends.body(b"longer")


async def asgi_too_short(ends: Ends) -> None:
    await ends.start(200, (b"content-length", b"9"))
    await ends.body(b"short")


async def asgi_odd_header(ends: Ends) -> None:
    await ends.start(200, (b"x-odd", b"one\r\ntwo: three"))
    await ends.body(b"odd")


ASGI = {
    f"/{page.__name__.removeprefix('asgi_').replace('_', '-')}": page
    for page in (
        asgi_boom,
        asgi_echo,
        asgi_empty,
        asgi_fails,
        asgi_fails_afterwards,
        asgi_goes_on,
        asgi_headless,
        asgi_nonsense,
        asgi_odd_header,
        asgi_parts,
        asgi_silent,
        asgi_too_long,
        asgi_too_short,
        asgi_twice,
        asgi_unchanged,
        asgi_unended,
        asgi_waits,
    )
}


async def lifespan(ends: Ends) -> None:
    """Both halves of it."""
    await ends.hear()
    await ends.say("lifespan.startup.complete")
    await ends.hear()
    await ends.say("lifespan.shutdown.complete")


async def websocket(ends: Ends, path: str) -> None:
    """Refuses `/refuse`, closes first on `/bye`, raises on `/boom`, else echoes until the client leaves."""
    await ends.hear()
    if path == "/refuse":
        await ends.say("websocket.close", code=4403)
        return
    await ends.say("websocket.accept", headers=[(b"x-met", b"us")])
    if path == "/boom":
        raise ValueError("socket boom")
    if path == "/bye":
        await ends.say("websocket.close", code=4001, reason="bye")
        return
    while (message := await ends.hear())["type"] == "websocket.receive":
        said = {key: message[key] for key in ("text", "bytes") if message.get(key)}
        await ends.say("websocket.send", **said)


async def asgi(scope: Message, receive: Receive, send: Send) -> None:
    """Answer by path."""
    ports = {key: scope[key][0] for key in ("client", "server") if scope.get(key)}
    saw("called", shown({**scope, **ports}))
    saw("variables", variables())
    ends = Ends(receive, send)
    try:
        if scope["type"] == "lifespan":
            await lifespan(ends)
        elif scope["type"] == "websocket":
            await websocket(ends, scope["path"])
        else:
            await ASGI.get(scope["path"], asgi_hello)(ends)
    except BaseException as error:
        saw("raises", repr(error))
        raise
    saw("returned")
