"""Who the client is and how long it queued: only trusted proxies count, and nothing they send raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.forwarding import MAX_HOPS, Trusted, client, queue_time

PROXIES = Trusted(["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"])
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND  # wall clock, ns


def xff(*values: str) -> list[tuple[str, str]]:
    return [("host", "x"), *(("x-forwarded-for", value) for value in values)]


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("forwarded", value) for value in values]


# ------------------------------------------------------------------ who is trusted


@pytest.mark.parametrize(
    ("addresses", "peer", "expected"),
    [
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["10.0.0.0/8"], "10.255.0.1", True),
        (["10.1.2.3/8"], "10.9.9.9", True),
        (["10.0.0.0/8"], "::ffff:10.1.1.1", True),
        (["::1"], "::1", True),
        (["::1"], "0:0:0:0:0:0:0:1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["10.0.0.0/8"], "::1", False),
        (["*"], "203.0.113.9", True),
        (["*"], "", True),
        (["unix"], "", True),
        (["127.0.0.1"], "", False),
        (["unix"], "127.0.0.1", False),
        ([" 127.0.0.1 "], "127.0.0.1", True),
        (["Proxy.local"], "proxy.local", True),
        (["10.0.0.0/33", "1.2.3"], "10.0.0.1", False),
        ([], "127.0.0.1", False),
    ],
)
def test_a_peer_is_trusted_by_address_network_or_name(
    addresses: list[str], peer: str, expected: bool
) -> None:
    """However its address is written; a peer on a unix socket has none."""
    assert (peer in Trusted(addresses)) is expected


def test_an_operator_can_read_who_is_trusted() -> None:
    """The settings as given, in order."""
    assert repr(Trusted(["10.0.0.0/8", "*"])) == "<Trusted *, 10.0.0.0/8>"
    assert repr(Trusted([])) == "<Trusted nobody>"


# ------------------------------------------------------------------ who the client is


def test_a_stranger_is_the_client_whatever_it_says() -> None:
    """Headers of a peer that is not trusted do not count."""
    for headers in (xff("1.1.1.1"), forwarded("for=1.1.1.1")):
        assert client("203.0.113.9", headers, PROXIES) == ("203.0.113.9", None)


def test_a_proxy_that_says_nothing_is_the_client() -> None:
    """A trusted peer may also send requests of its own."""
    assert client("127.0.0.1", [("host", "x")], PROXIES) == ("127.0.0.1", None)
    assert client("", [], Trusted(["unix"])) == ("", None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9, 10.0.0.1"], "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9", "10.0.0.1,10.0.0.2"], "203.0.113.9"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::9]:4711"], "2001:db8::9"),
        (["[2001:db8::9]"], "2001:db8::9"),
        (["2001:DB8:0::9"], "2001:db8::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9,\t2001:db8:1::7"], "203.0.113.9"),
        (["6.6.6.6, unknown, 10.0.0.1"], "10.0.0.1"),
        (["6.6.6.6, 10.0.0.300, 10.0.0.1"], "10.0.0.1"),
        (["6.6.6.6, , 10.0.0.1"], "10.0.0.1"),
        ([f"fe80::1%{'e' * 100}, 10.0.0.1"], "10.0.0.1"),
        ([f"6.6.6.6, {'9' * 60_000}, 10.0.0.1"], "10.0.0.1"),
    ],
)
def test_x_forwarded_for_is_walked_back_to_the_first_stranger(values: list[str], expected: str) -> None:
    """Past trusted proxies only; what is no address ends the walk at the last that was one."""
    assert client("127.0.0.1", xff(*values), PROXIES) == (expected, "x-forwarded-for")


@pytest.mark.parametrize(
    "value",
    ["", "unknown", "6.6.6.6, garbage", "[::1", "[::1]x", "1.2.3.4:", "1.2.3.4:123456", "\x00", "\ud800"],
)
def test_garbage_beside_the_proxy_leaves_the_proxy_as_client(value: str) -> None:
    """No address, no source."""
    assert client("127.0.0.1", xff(value), PROXIES) == ("127.0.0.1", None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["for=203.0.113.9"], "203.0.113.9"),
        (["for=203.0.113.9;proto=https;by=10.0.0.1"], "203.0.113.9"),
        (['FOR="[2001:db8::9]:4711"'], "2001:db8::9"),
        (['for="203.0.113.9:4711"'], "203.0.113.9"),
        (["for=203.0.113.9:4711"], "203.0.113.9"),
        (["for=[2001:db8::9]"], "2001:db8::9"),
        (["for=6.6.6.6, for=203.0.113.9;host=a, for=10.0.0.1"], "203.0.113.9"),
        (["for=6.6.6.6", "for=203.0.113.9", 'for="10.0.0.1"'], "203.0.113.9"),
        (['host="a,b;for=6.6.6.6";for=203.0.113.9'], "203.0.113.9"),
        ([r'host="a\"b";for="203.0.113\.9"'], "203.0.113.9"),
        (['for="203.0.113.9:_obf"'], "203.0.113.9"),
        (["for=203.0.113.9 ; proto=http;"], "203.0.113.9"),
        (["for=203.0.113.9,"], "203.0.113.9"),
        (["for=6.6.6.6, for=unknown, for=10.0.0.1"], "10.0.0.1"),
        (["for=6.6.6.6, for=_hidden, for=10.0.0.1"], "10.0.0.1"),
        (["for=6.6.6.6, proto=https, for=10.0.0.1"], "10.0.0.1"),
        (['for="6.6.6.6', "for=10.0.0.1"], "10.0.0.1"),
    ],
)
def test_forwarded_is_walked_back_to_the_first_stranger(values: list[str], expected: str) -> None:
    """RFC 7239: quoted strings, ports, brackets; an obfuscated or unknown hop ends the walk."""
    assert client("127.0.0.1", forwarded(*values), PROXIES) == (expected, "forwarded")


@pytest.mark.parametrize(
    "value", ["", "for", "for=", 'for="1.1.1.1', "for=1.1.1.1 x", "=1.1.1.1", f"for=1.1.1.1{' ' * 9000}"]
)
def test_a_forwarded_that_cannot_be_read_names_nobody(value: str) -> None:
    """And nothing is cut out of it."""
    assert client("127.0.0.1", forwarded(value), PROXIES) == ("127.0.0.1", None)


def test_x_forwarded_for_is_believed_before_forwarded() -> None:
    """Proxies overwrite the former; the latter may be the client's own, passed on."""
    headers = [*forwarded("for=6.6.6.6"), *xff("203.0.113.9")]
    assert client("127.0.0.1", headers, PROXIES) == ("203.0.113.9", "x-forwarded-for")


def test_where_all_are_trusted_the_farthest_hop_is_the_client() -> None:
    """`*` means that the header is believed to its end, though not without end."""
    everybody = Trusted(["*"])
    assert client("9.9.9.9", xff("1.1.1.1, 2.2.2.2"), everybody) == ("1.1.1.1", "x-forwarded-for")
    chain = ",".join(f"10.0.{n // 250}.{n % 250}" for n in range(10_000))
    assert client("9.9.9.9", xff(chain), everybody)[0] == f"10.0.{(10_000 - MAX_HOPS) // 250}.218"
    assert client("9.9.9.9", forwarded(*["for=1.1.1.1"] * 1000), everybody) == ("1.1.1.1", "forwarded")


# ------------------------------------------------------------------ queue time


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1699999999.5", 500.0),
        ("t=1699999999.5", 500.0),
        ("t=1699999999", 1000.0),
        ("1699999999750", 250.0),
        ("t=1699999999750.5", 249.5),
        ("1699999999999000", 1.0),
        ("t=1699999999999250", 0.75),
        ("1699999999998000000", 2.0),
        (" t=1699999999.5 ", 500.0),
        ("t=1699999999.5, t=1699999999.9", 500.0),
        ("1700000005", 0.0),
        ("1699913600", 86_400_000.0),
        ("1699913599", None),
        ("1700090000", None),
        ("0", None),
        ("99999999999999999999", None),
        ("-1699999999", None),
        ("1e9", None),
        ("nan", None),
        ("t=", None),
        ("", None),
        ("1699999999.", None),
        ("9" * 70_000, None),
        ("\u0661\u0666\u0669\u0669\u0669\u0669\u0669\u0669\u0669\u0669", None),
        ("\ud800", None),
    ],
)
@pytest.mark.parametrize("name", ["x-request-start", "x-queue-start"])
def test_queue_time_in_any_unit(name: str, value: str, expected: float | None) -> None:
    """The magnitude tells seconds, ms, us and ns apart; never negative, and never more than a day."""
    queued = queue_time([("host", "x"), (name, value)], START)
    assert queued == (None if expected is None else pytest.approx(expected, abs=0.002))


def test_a_bad_stamp_leaves_the_next_header_its_turn() -> None:
    """The first that can be used counts."""
    headers = [("x-request-start", "soon"), ("x-queue-start", "t=1699999999.5"), ("x-request-start", "1")]
    assert queue_time(headers, START) == 500.0
    assert queue_time([], START) is None


text = st.one_of(
    st.text(),
    st.text('0123456789abcdef.:[]"\\=;, _forFOR\t'),
    st.text("t=.0123456789"),
    st.characters(categories=["Cs"]),
)
headers = st.lists(
    st.tuples(st.sampled_from(["x-forwarded-for", "forwarded", "x-request-start", "x-queue-start"]), text),
    max_size=5,
)


@given(st.one_of(st.just("127.0.0.1"), st.text()), headers, st.integers(0, 2**63))
def test_nothing_a_proxy_sends_raises(peer: str, sent: list[tuple[str, str]], start: int) -> None:
    """And the answer is an address with its source, or the peer."""
    for trusted in (PROXIES, Trusted(["*"])):
        address, source = client(peer, sent, trusted)
        assert source in ("x-forwarded-for", "forwarded") or address == peer
    queued = queue_time(sent, start)
    assert queued is None or 0.0 <= queued <= 86_400_000.0


@given(st.ip_addresses(), st.booleans())
def test_every_address_comes_through_both_headers(address: object, port: bool) -> None:
    """With and without a port, unchanged but for its usual form."""
    bracketed = f"[{address}]" if ":" in str(address) else str(address)
    node = f"{bracketed}:443" if port else bracketed
    nobody_else = Trusted(["unix"])
    through_xff = client("", xff(node), nobody_else)[0]
    through_forwarded = client("", forwarded(f'for="{node}"'), nobody_else)[0]
    assert through_xff == through_forwarded == str(getattr(address, "ipv4_mapped", None) or address)
