"""What one setting is: how it is read and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

SWITCH = "true or false"
PATH = "a path"


class Setting(NamedTuple):
    """How one setting is read and shown; its default is the field of that name in `Config` or its tables."""

    key: str
    read: Callable[[object], object]  # raises ValueError
    accepts: str
    absent: str = ""  # what None or "" stands for
    show: Callable[[Any], str] = str
    where: bool = False  # it says where records go: who does not agree on it may not share journals
