"""What clients send: decent requests, odd ones, broken ones, as bytes on the wire; and any number of more.

Each is a list of parts, which are sent one shortly after the other.
"""

from __future__ import annotations

import base64
import struct
from itertools import pairwise

from hypothesis import strategies as st
from watching_app import ASGI, WSGI

PAGES = sorted({"/", "/hello", *WSGI, *ASGI})
CLOSE = "Connection: close"
EXPECT = ("Expect: 100-continue", "Content-Length: 4")


def request(
    target: str = "/", *headers: str, method: str = "GET", version: str = "HTTP/1.1", body: bytes = b""
) -> bytes:
    """A request as most clients would send it."""
    lines = [f"{method} {target} {version}", "Host: shop.test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(target: str, body: bytes, *headers: str) -> bytes:
    """A request whose body comes as it is."""
    return request(target, "Transfer-Encoding: chunked", CLOSE, *headers, method="POST") + body


def frame(opcode: int, payload: bytes = b"", first: int = 0x80) -> bytes:
    """A WebSocket frame of a client."""
    mask = b"mask"
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([first | opcode, 0x80 | len(payload)]) + mask + masked


def handshake(target: str, *headers: str, version: int = 13) -> bytes:
    """A client that wants a WebSocket."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    wanted = ["Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}"]
    return request(target, *wanted, f"Sec-WebSocket-Version: {version}", *headers)


HELLO = request("/hello", CLOSE)
BODY = b"one\ntwo\nthree"
DECENT = {
    **{f"GET {page}": [request(page, CLOSE)] for page in PAGES},
    **{f"POST {page}": [request(page, CLOSE, method="POST", body=BODY)] for page in PAGES},
    "HEAD": [request("/parts", CLOSE, method="HEAD")],
    "OPTIONS *": [request("*", CLOSE, method="OPTIONS")],
    "a method of its own": [request("/", CLOSE, method="BREW")],
    "HTTP/1.0": [request("/hello", version="HTTP/1.0")],
    "HTTP/1.0 that stays": [request("/hello", "Connection: keep-alive", version="HTTP/1.0"), HELLO],
    "one after the other": [request("/hello"), request("/echo", method="POST", body=BODY), HELLO],
    "pipelined": [request("/hello") + request("/parts") + request("/echo", method="POST", body=BODY) + HELLO],
    "pipelined behind a body that nobody reads": [request("/hello", method="POST", body=BODY) + HELLO],
    "in chunks": [chunked("/echo", b"3\r\none\r\n3;x=y\r\ntwo\r\n0\r\nX-Trailer: yes\r\n\r\n")],
    "in chunks, slowly": [chunked("/lines", b"3\r\non"), b"e\r\n3\r", b"\ntwo\r\n0", b"\r\n\r\n"],
    "byte by byte": [bytes([byte]) for byte in request("/echo", CLOSE, method="POST", body=b"slow")],
    "body later": [request("/echo", CLOSE, "Content-Length: 4", method="POST"), b"la", b"te"],
    "expects 100": [request("/echo", CLOSE, *EXPECT, method="POST"), b"body"],
    "expects 100 for nothing": [request("/hello", CLOSE, *EXPECT, method="POST")],
    "query": [request("/hello?a=1&token=secret&%C3%BC=%00", CLOSE)],
    "escapes": [request("/%2e%2e/%C3%BC%00%ff/..;/x", CLOSE)],
    "absolute": [request("http://other.test:81/hello?x#y", CLOSE)],
    "headers twice": [request("/hello", CLOSE, "X-A: 1", "X-A: 2", "Cookie: a=b", "Cookie: c", "Range: x")],
    "trace headers": [
        request(
            "/hello",
            CLOSE,
            "X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "X-Forwarded-For: 1.2.3.4, 5.6.7.8",
            "X-Forwarded-Proto: https",
        )
    ],
    "many headers": [request("/hello", CLOSE, *(f"X-{number}: {number}" for number in range(90)))],
    "large body": [request("/echo", CLOSE, method="POST", body=b"x" * 200_000)],
    "upgrade to what there is not": [request("/hello", "Connection: Upgrade, close", "Upgrade: h2c")],
}
BROKEN = {
    "nothing": [b""],
    "an empty line": [b"\r\n\r\n"],
    "empty lines first": [b"\r\n\r\n" + HELLO],
    "half a head": [b"GET /hello HTTP/1.1\r\nHost: sh"],
    "half a body": [request("/echo", "Content-Length: 9", method="POST") + b"half"],
    "half a chunk": [chunked("/lines", b"9\r\nhalf")],
    "no version": [b"GET /hello\r\n\r\n"],
    "HTTP/2 out of the blue": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    "HTTP/9.9": [request("/hello", CLOSE, version="HTTP/9.9")],
    "TLS": [bytes.fromhex("1603010200010001fc0303") + b"\0" * 60],
    "bare line feeds": [HELLO.replace(b"\r\n", b"\n")],
    "bare carriage returns": [HELLO.replace(b"\r\n", b"\r")],
    "a space in the target": [request("/hel lo", CLOSE)],
    "bytes in the target": [b"GET /\xff\xfe\x80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
    "a null in the target": [request("/hel\0lo", CLOSE)],
    "a very long target": [request("/" + "x" * 9000, CLOSE)],
    "too long a target": [request("/" + "x" * 70_000, CLOSE)],
    "a very long header": [request("/hello", CLOSE, "X-Long: " + "x" * 9000)],
    "too many headers": [request("/hello", CLOSE, *(f"X-{number}: {number}" for number in range(300)))],
    "a header without a colon": [request("/hello", CLOSE, "nonsense")],
    "a header without a name": [request("/hello", CLOSE, ": nothing")],
    "a space before the colon": [request("/hello", CLOSE, "X-A : b")],
    "a folded header": [request("/hello", CLOSE, "X-A: b\r\n c")],
    "a null in a header": [request("/hello", CLOSE, "X-A: b\0c")],
    "bytes in a header": [request("/hello", CLOSE, "X-A: \xff\xe9")],
    "no host": [b"GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n"],
    "two hosts": [request("/hello", CLOSE, "Host: other.test")],
    "two lengths": [request("/echo", CLOSE, "Content-Length: 3", method="POST", body=b"four")],
    "no length": [request("/echo", CLOSE, "Content-Length: x", method="POST")],
    "a negative length": [request("/echo", CLOSE, "Content-Length: -1", method="POST")],
    "a huge length": [request("/hello", CLOSE, "Content-Length: 99999999999999999999", method="POST")],
    "a length and chunks": [chunked("/echo", b"0\r\n\r\n", "Content-Length: 5")],
    "an unknown encoding": [request("/echo", CLOSE, "Transfer-Encoding: rot13", method="POST")],
    "no chunk": [chunked("/lines", b"zzz\r\n\r\n")],
    "a negative chunk": [chunked("/lines", b"-3\r\none\r\n0\r\n\r\n")],
    "a chunk that is longer": [chunked("/lines", b"2\r\none\r\n0\r\n\r\n")],
    "an odd method": [b"G\xc3T /hello HTTP/1.1\r\nHost: a\r\n\r\n"],
    "lower case": [b"get /hello http/1.1\r\nHost: a\r\n\r\n"],
    "CONNECT": [request("shop.test:443", CLOSE, method="CONNECT")],
}
WEBSOCKETS = {
    "echo": [handshake("/echo"), frame(1, b"one") + frame(2, b"two"), frame(8, struct.pack(">H", 1000))],
    "a subprotocol": [handshake("/echo", "Sec-WebSocket-Protocol: a, b"), frame(8)],
    "refused": [handshake("/refuse")],
    "closed first": [handshake("/bye"), frame(8, struct.pack(">H", 4001))],
    "boom": [handshake("/boom")],
    "ping": [handshake("/echo"), frame(9, b"are you there"), frame(8, struct.pack(">H", 3000) + b"bye")],
    "in fragments": [handshake("/echo"), frame(1, b"one", 0) + frame(0, b"two"), frame(8)],
    "reserved bits": [handshake("/echo"), frame(1, b"one", 0xF0)],
    "no text": [handshake("/echo"), frame(1, b"\xff\xfe")],
    "another version": [handshake("/echo", version=7)],
    "without a key": [request("/echo", "Connection: Upgrade", "Upgrade: websocket")],
    "a client that just leaves": [handshake("/echo"), frame(1, b"one")],
}

# ---------------------------------------------------------------- any number of more

_text = st.text(st.characters(max_codepoint=255), max_size=20)
_names = st.sampled_from(["X-A", "Host", "Content-Type", "Cookie", "TE", "X-Forwarded-For", "traceparent"])
_values = st.one_of(_text, st.sampled_from(["", "a, b", "1.2.3.4", f"00-{'0' * 32}-{'1' * 16}-01"]))
_headers = st.lists(st.tuples(_names, _values).map(": ".join), max_size=4)
_pages = st.sampled_from(PAGES)
_targets = st.one_of(_pages, st.tuples(_pages, _text).map("?".join), _text.map("/".__add__))
_methods = st.one_of(st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]), _text)
_versions = st.sampled_from(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 x", ""])
_bodies = st.one_of(st.just(b""), st.binary(max_size=40))


@st.composite
def hostile(draw: st.DrawFn) -> list[bytes]:
    """A request that somebody may have meant, with a few bytes changed, in a few parts."""
    headers = [*draw(_headers), CLOSE]
    method, version = draw(_methods), draw(_versions)
    sent = bytearray(request(draw(_targets), *headers, method=method, version=version, body=draw(_bodies)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(sent)))
        sent[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=2)))
    ends = [0, *cuts, len(sent)]
    return [bytes(sent[first:last]) for first, last in pairwise(ends)]
