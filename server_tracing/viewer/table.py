"""Columns: as wide as what is in them, the last one taking what is left of the line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
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

    def __init__(self, screen: Screen, columns: Sequence[Column]) -> None:
        self._screen = screen
        self._columns = columns
        self._widths: list[int] = []

    def print(self, rows: Iterable[Sequence[Cell]]) -> int:
        """All rows, below a header if there are any; how many there were."""
        rows = iter(rows)
        first = list(islice(rows, MEASURED))
        if not self._widths and first:
            self._measure(first)
            self._header()
        printed = 0
        for row in chain(first, rows):
            self._screen.line(self._line(row))
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
        style = self._screen.style
        if self._screen.width is None:
            return style(cell.text, *cell.styles) + (
                GAP + style(cell.note, *cell.note_styles) if cell.note else ""
            )
        used = sum(self._widths[:-1]) + len(GAP) * (len(self._columns) - 1)
        room = max(LEAST, self._screen.width - used)
        text = clip(cell.text, room)
        left = room - width(text) - len(GAP)
        if not cell.note or left < min(LEAST, width(cell.note)):
            return style(text, *cell.styles)
        return style(text, *cell.styles) + GAP + style(clip(cell.note, left), *cell.note_styles)
