"""Columns: as wide as what is in them, the last one taking what is left of the line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from textwrap import wrap
from typing import NamedTuple

from .human import clip, width
from .screen import Screen

GAP = "  "
MEASURED = 200  # rows that decide how wide the columns are; later ones keep to it where they can
LEAST = 12  # columns the last column gets, whatever the others want


class Cell(NamedTuple):
    """A visible text and how it is styled; `note` follows in its own style where there is room."""

    text: str
    styles: tuple[str, ...] = ()
    note: str = ""
    note_styles: tuple[str, ...] = ("dim",)


class Column(NamedTuple):
    title: str
    right: bool = False


class Table:
    """Prints rows of cells, measuring the first ones."""

    def __init__(self, screen: Screen, columns: Sequence[Column], *, wraps: bool = False) -> None:
        self._screen = screen
        self._columns = columns
        self._wraps = wraps  # the last column, rather than losing its end
        self._widths: list[int] = []

    def print(
        self, rows: Iterable[Sequence[Cell]], after: Callable[[int], None] = lambda number: None
    ) -> int:
        """All rows, below a header if there are any; how many there were. `after` each, counted from 0, there
        may be more to say."""
        rows = iter(rows)
        first = list(islice(rows, MEASURED))
        if not self._widths and first:
            self._measure(first)
            self._header()
        printed = 0
        for row in chain(first, rows):
            for part in self._parts(row):
                self._screen.line(self._line(part))
            after(printed)
            printed += 1
        self._screen.flush()
        return printed

    def _measure(self, rows: Sequence[Sequence[Cell]]) -> None:
        cells = zip(*rows, strict=True)
        self._widths = [
            max(len(column.title), *(width(cell.text) for cell in under))
            for column, under in zip(self._columns, cells, strict=True)
        ]

    def _header(self) -> None:
        titles = [Cell(column.title, ("dim",)) for column in self._columns]
        self._screen.line(self._line(titles))

    def _parts(self, row: Sequence[Cell]) -> Iterator[Sequence[Cell]]:
        """The row itself, or as many as its last cell needs lines."""
        *fixed, last = row
        if not self._wraps or self._room is None:
            yield row
            return
        for text in wrap(last.text, self._room, break_on_hyphens=False) or [""]:
            yield [*fixed, last._replace(text=text)]
            fixed = [Cell("")] * len(fixed)

    @property
    def _room(self) -> int | None:
        """Columns left for the last one; None where there is no end."""
        if self._screen.width is None:
            return None
        used = sum(self._widths[:-1]) + len(GAP) * (len(self._columns) - 1)
        return max(LEAST, self._screen.width - used)

    def _line(self, row: Sequence[Cell]) -> str:
        *fixed, last = self._styled(row)
        return (GAP.join([*fixed, last]) if last else GAP.join(fixed)).rstrip(" ")

    def _styled(self, row: Sequence[Cell]) -> Iterator[str]:
        for cell, column, columns in zip(row[:-1], self._columns[:-1], self._widths[:-1], strict=True):
            padding = " " * (columns - width(cell.text))
            text = self._screen.style(cell.text, *cell.styles)
            yield padding + text if column.right else text + padding
        yield self._last(row[-1])

    def _last(self, cell: Cell) -> str:
        room = self._room
        text = cell.text if room is None else clip(cell.text, room)
        note = cell.note
        if room is not None:
            left = room - width(text) - len(GAP)
            note = clip(note, left) if left >= min(LEAST, width(note)) else ""
        shown = [self._screen.style(text, *cell.styles), self._screen.style(note, *cell.note_styles)]
        return GAP.join(filter(None, shown))
