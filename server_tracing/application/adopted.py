"""One entry of an application's settings, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Adopted(NamedTuple):
    """`gives` are settings of ours; an entry that gives none has a remark that says why."""

    name: str
    where: str  # "Django settings"
    value: Any
    gives: Mapping[str, object] = {}
    remark: str = ""
    refused: bool = False  # it says something that is not understood here

    @property
    def source(self) -> str:
        """As `server-tracing config` names it."""
        return f"{self.where}, {self.name}"

    @property
    def fate(self) -> str:
        """Whether it counts, in a sentence."""
        given = ", ".join(self.gives)
        return "; ".join(filter(None, (f"read as {given}" if given else "", self.remark)))
