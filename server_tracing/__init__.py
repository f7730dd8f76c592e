"""A flight recorder for Python web servers: every request the server saw becomes exactly one record.

                        the worker process                              |  any process, later
                                                                        |
      server -> capture/ -> journal/   -> export/ -> local, X-Ray, ...  |  viewer/   requests, stats, ...
                   |        crash-proof      |                          |    |
                inside/     ring in        store/    <------------------+----+
             what the app   shared memory  SQLite, on disk              |
             says of itself                                             |

Folders are where code runs: `capture/` inside the request (microseconds), `inside/` in the application's
own code, `export/` in threads of ours (may wait), `viewer/` in a process of its own (reads only). They
import what stands beside them, never each other. What travels is `record.py`.

Nothing is imported before it is used: this module costs a server nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server_tracing.inside.api import CurrentRequest, Span, current, headers, in_context, span
    from server_tracing.wrappers import asgi, wsgi

__all__ = [
    "CurrentRequest",
    "Span",
    "__version__",
    "asgi",
    "current",
    "headers",
    "in_context",
    "span",
    "wsgi",
]
__version__ = "0.1.0"

_INSIDE, _WRAPPERS = "server_tracing.inside.api", "server_tracing.wrappers"
_HOMES = dict.fromkeys(["CurrentRequest", "Span", "current", "headers", "in_context", "span"], _INSIDE)
_HOMES |= dict.fromkeys(["asgi", "wsgi"], _WRAPPERS)


def __getattr__(name: str) -> Any:
    """Bring a name in when somebody asks for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
