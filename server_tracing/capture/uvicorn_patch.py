"""Putting ours around uvicorn's functions, once per process; a version that lacks one is left as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import update_wrapper
from typing import Any

Function = Callable[..., Any]
Around = Callable[[Function], Function]

ZTTP = ("uvicorn.protocols.http.zttp_impl", "ZttpProtocol")
HTTP_PROTOCOLS = (
    ("uvicorn.protocols.http.h11_impl", "H11Protocol"),
    ("uvicorn.protocols.http.httptools_impl", "HttpToolsProtocol"),
    ZTTP,
    ("uvicorn.protocols.http.zttp_h2_impl", "ZttpH2Protocol"),
)
WEBSOCKETS = ("uvicorn.protocols.websockets.websockets_impl", "WebSocketProtocol")
WEBSOCKETS_SANSIO = ("uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol")
WSPROTO = ("uvicorn.protocols.websockets.wsproto_impl", "WSProtocol")


def surround(owner: Any, name: str, around: Around) -> None:
    """Put `around(original)` in the place of `owner.name`, unless it is there already or there is none."""
    original = getattr(owner, name, None)
    if original is None or hasattr(original, "server_tracing"):
        return
    replacement = update_wrapper(around(original), original)
    replacement.server_tracing = True  # type: ignore[attr-defined]
    setattr(owner, name, replacement)


def then(note: Function) -> Around:
    """The original method, and when it is done `note` with the same arguments."""

    def around(original: Function) -> Function:
        def method(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            with suppress(Exception):  # what we know of uvicorn may be wrong for this version
                note(*arguments, **named)
            return result

        return method

    return around


def loaded_protocols() -> Iterator[tuple[Any, Any]]:
    """Module and class of every HTTP implementation that this process has loaded."""
    for where in HTTP_PROTOCOLS:
        protocol = loaded(where)
        if protocol is not None:
            yield sys.modules[where[0]], protocol


def loaded(where: tuple[str, str]) -> Any:
    """A class, if its module is loaded."""
    return getattr(sys.modules.get(where[0]), where[1], None)
