"""Where output goes: a terminal with a width and maybe colours, or a pipe with neither."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

from .human import visible

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
NARROWEST = 40


class Screen:
    """Writes lines; `width` is None where a line may be as long as it is."""

    def __init__(
        self,
        out: TextIO,
        *,
        width: int | None = None,
        colour: bool = False,
        aside: TextIO | None = None,
    ) -> None:
        self.out = out
        self.width = width
        self.colour = colour
        self._aside = aside

    @classmethod
    def standard(cls, environ: Mapping[str, str] = os.environ) -> Screen:
        """Standard output as it is. NO_COLOR (no-color.org) and FORCE_COLOR decide where they are set."""
        terminal = sys.stdout.isatty()
        return cls(
            sys.stdout,
            width=max(NARROWEST, shutil.get_terminal_size().columns) if terminal else None,
            colour=_coloured(terminal, environ),
            aside=sys.stderr,
        )

    @property
    def is_terminal(self) -> bool:
        return self.width is not None

    @property
    def draws(self) -> bool:
        """Can it show line-drawing characters?"""
        return (getattr(self.out, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"

    def style(self, text: str, *names: str) -> str:
        if not self.colour or not names or not text:
            return text
        return f"\x1b[{';'.join(CODES[name] for name in names)}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        self.out.write(text + "\n")

    def block(self, text: str) -> None:
        """Lines that belong to the one above."""
        for line in text.splitlines():
            self.line(f"  {visible(line)}".rstrip())

    def flush(self) -> None:
        self.out.flush()

    def remark(self, text: str) -> None:
        """Something about the output that is not part of it."""
        if self._aside is not None:
            self._aside.write(text + "\n")

    def __repr__(self) -> str:
        return f"<Screen {self.width or 'unbounded'} wide · {'colour' if self.colour else 'plain'}>"


def _coloured(terminal: bool, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return terminal and environ.get("TERM") != "dumb"
