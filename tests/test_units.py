"""What people write, and how we write it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.units import (
    Rate,
    duration,
    duration_text,
    rate,
    share,
    size,
    size_text,
    switch,
    whole,
    words,
)

READERS = (switch, size, duration, share, rate, words, whole)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        ("64MB", 64_000_000),
        ("1g", 1 << 30),
        ("1Gi", 1 << 30),
        ("1.5k", 1536),
        ("512", 512),
        ("512B", 512),
        (4096, 4096),
    ],
)
def test_sizes_as_people_write_them(written, meant):
    """KiB and bare letters count in 1024, KB in 1000, a bare number is bytes."""
    assert size(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1s", 1),
        ("250ms", 0.25),
        ("250 ms", 0.25),
        ("10m", 600),
        ("24h", 86400),
        ("2d", 172800),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("90", 90),
        ("5 minutes", 300),
        ("2us", 2e-6),
        (0.5, 0.5),
        (3, 3),
    ],
)
def test_durations_as_people_write_them(written, meant):
    """Units from microseconds to weeks, sums of them, and bare seconds."""
    assert duration(written) == pytest.approx(meant)


@pytest.mark.parametrize(("written", "meant"), [("5%", 0.05), ("0.05", 0.05), (1, 1), ("100 %", 1), (0, 0)])
def test_shares_as_people_write_them(written, meant):
    """A fraction or a percentage."""
    assert share(written) == pytest.approx(meant)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("10/s", Rate(10, 1)), ("100/m", Rate(100, 60)), ("0.5 / sec", Rate(0.5, 1)), ("5/10s", Rate(5, 10))],
)
def test_rates_as_people_write_them(written, meant):
    """So many per unit, or per several of it; and the way back is the same."""
    assert rate(written) == meant
    assert rate(str(meant)) == meant


@pytest.mark.parametrize("written", ["1", "true", "Yes", " ON ", True, 1])
def test_switches_on(written):
    """Every usual way to say yes."""
    assert switch(written) is True


@pytest.mark.parametrize("written", ["0", "FALSE", "no", "off", False, 0])
def test_switches_off(written):
    """Every usual way to say no."""
    assert switch(written) is False


def test_whole_numbers():
    """As text and as numbers."""
    assert [whole("30"), whole(30), whole(30.0), whole("0")] == [30, 30, 30, 0]


def test_lists_are_trimmed_and_free_of_blanks_and_repeats():
    """Commas in a variable, an array in a file; `none` is the empty list."""
    assert words(" a, b ,,a") == ("a", "b")
    assert words(["a", " b", ""]) == ("a", "b")
    assert words("none") == words([]) == ()


@pytest.mark.parametrize(
    ("reader", "written"),
    [
        (size, "-1"),
        (size, "1 parsec"),
        (size, "8MiB8"),
        (size, ""),
        (size, True),
        (size, "9" * 400),
        (size, "٣"),
        (duration, ""),
        (duration, "   "),
        (duration, "1h30"),
        (duration, "-1s"),
        (duration, "1x"),
        (duration, float("nan")),
        (duration, float("inf")),
        (whole, "1.5"),
        (whole, -1),
        (share, "1.01"),
        (share, "101%"),
        (share, "%"),
        (share, "-0.1"),
        (share, "nan"),
        (share, True),
        (share, 10**400),
        (rate, "10"),
        (rate, "10/"),
        (rate, "/s"),
        (rate, "10/0s"),
        (rate, "10/x"),
        (rate, 10),
        (switch, "maybe"),
        (switch, 2),
        (switch, 1.0),
        (switch, None),
        (words, 5),
        (words, [1]),
        (words, {"a": 1}),
    ],
)
def test_refuses_what_it_does_not_understand(reader, written):
    """Nothing is guessed."""
    with pytest.raises(ValueError):  # noqa: PT011 - the caller words the complaint
        reader(written)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.text())))
def test_no_input_surprises_a_reader(value):
    """Whatever a variable or a file holds gives a value or a ValueError."""
    for reader in READERS:
        try:
            reader(value)
        except ValueError:
            continue


@given(st.integers(0, 1 << 50))
def test_a_size_survives_the_way_out_and_back(value):
    """What `config` shows can be typed in again."""
    assert size(size_text(value)) == value


@given(st.integers(0, 10**6))
def test_a_duration_survives_the_way_out_and_back(milliseconds):
    """What `config` shows can be typed in again."""
    value = milliseconds / 1000
    assert duration(duration_text(value)) == pytest.approx(value, rel=1e-9)
