"""Things that the settings name: `module:name`, where the name may have dots."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(named: str) -> Any:
    """What is called so; ImportError or AttributeError if nothing is, or whatever its module raises."""
    module, _, path = named.partition(":")
    found: Any = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found
