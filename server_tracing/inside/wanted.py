"""Whether the application will want this room: asked once, when a worker has loaded it.

It will if it has asked already (`from server_tracing import current`), or holds `server_tracing` in one of
its modules (`import server_tracing`). Looking through 1,500 modules with 80,000 names takes 3 ms.
"""

from __future__ import annotations

import sys
from types import ModuleType

PACKAGE = __name__.partition(".")[0]


def wanted() -> bool:
    """Whether to follow requests from the first one on."""
    return f"{PACKAGE}.inside.api" in sys.modules or any(map(_holds_package, list(sys.modules.items())))


def _holds_package(item: tuple[str, ModuleType]) -> bool:
    name, module = item
    if name == PACKAGE or name.startswith(f"{PACKAGE}."):
        return False
    package = sys.modules[PACKAGE]
    return any(value is package for value in list(getattr(module, "__dict__", {}).values()))
