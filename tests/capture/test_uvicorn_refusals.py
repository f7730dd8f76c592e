"""What is known of a request that uvicorn refused."""

from __future__ import annotations

import pytest

from server_tracing.capture.uvicorn_refusals import read


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (b"GET /" + b"x" * 70_000, ("GET", "/" + "x" * 70_000)),
        (b"GARBAGE\r\n\r\n", ("", "")),
        (b"\x16\x03\x01 \x02\x00", ("", "")),
        (b"GET /a HTTP/1.1\r\nno colon\r\n", ("GET", "/a")),
    ],
    ids=["longer than a read", "no request", "a TLS handshake", "a request"],
)
def test_what_was_refused_is_known_as_far_as_it_was_read(data: bytes, known: tuple[str, str]) -> None:
    """Also of a request line that never ended."""
    assert read(data)[:2] == known
