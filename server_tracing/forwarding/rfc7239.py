"""The hops named by Forwarded: https://www.rfc-editor.org/rfc/rfc7239#section-4

More is understood than the grammar allows (addresses with colons without quotes, blanks around `;` and `=`),
because senders forget; a line with anything else in it names nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_LINE = 8192  # a longer line is not worth its reading

_PAIR = re.compile(
    r"""[ \t]* ([!#$%&'*+.^_`|~0-9A-Za-z-]+) [ \t]*=[ \t]*
        (?: "((?:[^"\\]|\\.)*)" | ([^\s"=;,]+) ) [ \t]* ([;,]|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def nodes(lines: list[str]) -> Iterator[str]:
    """What stands in `for`, nearest hop first; "" where a hop names nobody or cannot be read."""
    for line in reversed(lines):
        yield from reversed(_elements(line) if len(line) <= MAX_LINE else [""])


def _elements(line: str) -> list[str]:
    """The node of each comma-separated element, which is a list of `name=value`."""
    named, position, node, end = [], 0, "", ""
    while position < len(line):
        match = _PAIR.match(line, position)
        if match is None:
            return [""]
        name, quoted, token, end = match.groups()
        if name.lower() == "for":
            node = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if end == ",":
            named.append(node)
            node = ""
        position = match.end()
    return named if end == "," else [*named, node]
