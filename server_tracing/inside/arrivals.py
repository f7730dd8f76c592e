"""Told when a module is imported, once: for libraries that an application imports late, in a request perhaps.

A finder in front of the others that knows only the names it waits for; it costs an import one look into a
dictionary, and leaves finding and loading to those whose work that is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

Then = Callable[[], object]

log = logging.getLogger("server_tracing")

_awaited: dict[str, Then] = {}


def when_imported(name: str, then: Then) -> None:
    """Call this when the module is there: now if it is, else as soon as it has been executed."""
    if name in sys.modules:
        then()
        return
    _awaited[name] = then
    if _door not in sys.meta_path:
        sys.meta_path.insert(0, _door)


class Door(MetaPathFinder):
    """Sees who comes in."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        then = _awaited.pop(name, None)
        if then is None:
            return None
        spec = find_spec(name)  # by the others: it is not awaited any more
        if spec is not None and hasattr(spec.loader, "exec_module"):
            announce(spec.loader, name, then)
        else:
            _awaited[name] = then  # not found this time
        return spec


def announce(loader: object, name: str, then: Then) -> None:
    """Have this loader tell when it has executed its module. The loader is the module's own, stays in
    place and is left as it was: it also hands out the package's data."""
    execute = loader.exec_module  # type: ignore[attr-defined]

    def execute_and_tell(module: ModuleType) -> None:
        with suppress(AttributeError):
            del loader.exec_module  # type: ignore[attr-defined]
        try:
            execute(module)
        except BaseException:
            _awaited[name] = then  # perhaps the next time
            raise
        try:
            then()
        except Exception:
            log.exception("%s is not followed", name)

    loader.exec_module = execute_and_tell  # type: ignore[attr-defined]


_door = Door()
