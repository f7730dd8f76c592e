"""Expressions in settings, `opencensus.trace.samplers.ProbabilitySampler(rate=0.5)`, read and never executed.

OpenCensus hands such strings to `eval`, and whatever stands in them runs. Here a name, called with literals
or with other such calls, is understood; for everything else there is one sentence.
"""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from server_tracing.config.accepted import shown


class ExpressionError(ValueError):
    """An expression that is not evaluated; `str()` says which part of it."""


class Call(NamedTuple):
    """Something by its dotted name, and what it is called with."""

    name: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def kind(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]


def parse(text: str) -> Call:
    """The call that an expression is; also a bare name, which OpenCensus takes for a class."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError("it is no expression of Python") from None
    found = _value(tree)
    if not isinstance(found, Call):
        raise ExpressionError("it is not the name of a class and its arguments")
    return found


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        if any(keyword.arg is None for keyword in node.keywords):
            raise ExpressionError("** in it is not evaluated")
        named = {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
        return Call(_dotted(node.func), tuple(map(_value, node.args)), named)
    if isinstance(node, (ast.Name, ast.Attribute)):
        return Call(_dotted(node), (), {})
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise ExpressionError(f"{_shown(node)} in it is not evaluated") from None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ExpressionError(f"{_shown(node)} in it is not evaluated")


def _shown(node: ast.expr) -> str:
    """As it was written, if that is no secret."""
    return shown("", ast.unparse(node), str)
