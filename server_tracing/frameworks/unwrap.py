"""Finds the framework's application in whatever a server was given: middleware, closures, plain functions.

Only what objects hold is looked at (`vars`, cells, globals a function names), so that no property, proxy or
`__getattr__` of anybody's runs; and only so many of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

from server_tracing.frameworks import Framework, in_use

MOST_OBJECTS = 200
NO_WRAPPERS = (type, ModuleType, str, bytes, int, float, type(None))

# What they call what they wrap: whitenoise, werkzeug, starlette, asgiref, a2wsgi, uvicorn, channels, we.
HOLDERS = (
    "__wrapped__",
    "app",
    "_app",
    "application",
    "application_mapping",
    "wsgi_app",
    "wsgi_application",
    "asgi_app",
    "wsgi",
    "asgi",
    "inner",
    "wrapped",
    "handler",
    "func",
)


def applications_in(served: object) -> list[tuple[Framework, Any]]:
    """The applications of known frameworks that `served` is or wraps, the outermost first."""
    kinds = [(framework, framework.classes) for framework in in_use()]
    found: list[tuple[Framework, Any]] = []
    waiting, seen = deque([served]), {id(served)}
    while waiting and len(seen) < MOST_OBJECTS:
        candidate = waiting.popleft()
        framework = next((known for known, classes in kinds if issubclass(type(candidate), classes)), None)
        if framework is not None:
            found.append((framework, candidate))
            continue
        for held in _held(candidate):
            if id(held) not in seen:
                seen.add(id(held))
                waiting.append(held)
    return found


def _held(candidate: object) -> Iterator[Any]:
    kind = type(candidate)  # not `isinstance`, which asks proxies what they stand for
    if kind is FunctionType:
        yield from _of_function(cast(FunctionType, candidate))
    elif kind is MethodType:
        method = cast(MethodType, candidate)
        yield from (method.__self__, method.__func__)
    elif issubclass(kind, partial):
        call = cast("partial[Any]", candidate)
        yield from (call.func, *call.args, *call.keywords.values())
    elif issubclass(kind, dict):
        yield from list(cast("dict[Any, Any]", candidate).values())
    elif not issubclass(kind, NO_WRAPPERS):
        yield from _of_object(candidate)


def _of_function(function: FunctionType) -> Iterator[Any]:
    """What it wraps, encloses, or names: itself, or in a module it names."""
    yield from vars(function).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    names = function.__code__.co_names
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            yield from (vars(value)[other] for other in names if other in vars(value))
        elif value is not None:
            yield value


def _of_object(candidate: object) -> Iterator[Any]:
    """What it holds under a name that says so, and what its `__call__` names."""
    held: dict[str, Any] = {}
    with suppress(Exception):  # a proxy's is that of something else, or of nothing
        held = dict(object.__getattribute__(candidate, "__dict__"))
    yield from (held[name] for name in HOLDERS if name in held)
    for kind in type(candidate).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in HOLDERS:
            if name in slots and name in vars(kind):
                try:
                    yield vars(kind)[name].__get__(candidate)
                except AttributeError:  # not filled
                    continue
    classes = tuple(kind for framework in in_use() for kind in framework.classes)
    yield from (value for value in held.values() if issubclass(type(value), classes))
    call = vars(type(candidate)).get("__call__")
    if type(call) is FunctionType:
        yield call
