"""What can be made of a request line that a server would not have."""

from __future__ import annotations

import re

TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}$")  # RFC 9110, 5.6.2


def split_line(read: bytes) -> tuple[str, str]:
    """Method and target of the first line, if it begins with something that can be a method."""
    method, _, rest = read.lstrip(b"\r\n").partition(b"\n")[0].partition(b" ")
    if not TOKEN.match(method):
        return "", ""
    return method.decode("ascii"), rest.strip().partition(b" ")[0].decode("latin-1")
