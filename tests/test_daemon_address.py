"""The spellings of the daemon's address, those of the SDK and those it should have taken."""

import json
from operator import itemgetter
from pathlib import Path

import pytest

from server_tracing.daemon_address import parse

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())["daemon_address"]


@pytest.mark.parametrize("case", [case for case in VECTORS if case["udp"]], ids=itemgetter("written"))
def test_addresses_are_read_as_the_sdk_reads_them(case):
    """And blanks around them are no reason to refuse one."""
    address = parse(case["written"])
    assert (str(address.udp), str(address.tcp)) == (case["udp"], case["tcp"])


@pytest.mark.parametrize(
    ("written", "udp", "tcp"),
    [
        ("[::1]:2000", ("::1", 2000), ("::1", 2000)),
        ("UDP:[fe80::1%eth0]:2001 tcp:xray.local:2000", ("fe80::1%eth0", 2001), ("xray.local", 2000)),
    ],
)
def test_an_ipv6_address_stands_in_brackets(written, udp, tcp):
    """Where the last colon ends it is then plain."""
    assert parse(written) == (udp, tcp)


@pytest.mark.parametrize(
    "written",
    [
        *[case["written"] for case in VECTORS if not case["udp"]],
        "",
        ":2000",
        "h:0",
        "h:65536",
        "h:x",
        "::1:2000",
        "tcp:a:1 tcp:b:2",
        "tcp:a:1 udp:b:2 udp:c:3",
        "a b:1",
    ],
)
def test_what_is_no_address_is_refused(written):
    """Rather than sent into nowhere."""
    with pytest.raises(ValueError, match=r"^$"):
        parse(written)


def test_an_address_is_written_as_it_is_read():
    """For messages to people."""
    assert [str(parse(written).udp) for written in ("[::1]:1", "h:2")] == ["[::1]:1", "h:2"]
