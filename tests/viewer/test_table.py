"""Columns."""

from __future__ import annotations

from screens import rows, screen

from server_tracing.viewer.table import Cell, Column, Table

COLUMNS = (Column("NAME"), Column("COUNT", right=True), Column("WHAT"))


def printed(told, width=None, **options):
    target = screen(width)
    Table(target, COLUMNS, **options).print(told)
    return rows(target)


def row(name, count, what, note=""):
    return [Cell(name), Cell(count), Cell(what, (), note)]


def test_numbers_stand_right_and_texts_left():
    """Columns are as wide as what is in them; lines have no blanks at their end."""
    assert printed([row("a", "1", "x"), row("long", "1,000", "")]) == [
        "NAME  COUNT  WHAT",
        "a         1  x",
        "long  1,000",
    ]


def test_a_note_follows_where_there_is_room():
    """It is clipped before the text is, and left out before it says nothing."""
    told = [row("a", "1", "text", "a note that explains")]
    assert printed(told)[1].endswith("text  a note that explains")
    assert printed(told, 36)[1] == "a         1  text  a note that expl…"
    assert printed(told, 28)[1].endswith("text")


def test_the_last_column_is_clipped_or_wrapped():
    """Where losing its end would lose the point, it goes on below itself."""
    told = [row("a", "1", "one two three four five six seven")]
    assert printed(told, 30)[1] == "a         1  one two three fo…"
    assert printed(told, 30, wraps=True)[1:] == [
        "a         1  one two three",
        "             four five six",
        "             seven",
    ]


def test_rows_may_come_in_portions():
    """Below one header, as long as it runs."""
    target = screen()
    table = Table(target, COLUMNS)
    assert table.print([]) == 0
    assert table.print([row("a", "1", "x")]) == 1
    assert table.print([row("b", "2", "y")]) == 1
    assert [line[:1] for line in rows(target)] == ["N", "a", "b"]
