"""Service names, exclusion, and routes where no framework told one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.config import Config
from server_tracing.naming import MOST_NAMES, Excluder, Namer, clean_host, routeless_name, service_name


def namer(pattern="*.example.com"):
    return Namer(Config(service="fb", dynamic_naming=pattern))


# ---------------------------------------------------------------- the service


@pytest.mark.parametrize(
    ("pattern", "host", "name"),
    [
        ("*.example.com", "www.example.com", "www.example.com"),
        ("*.example.com", None, "fb"),
        ("*", "", "fb"),
        ("*.example.com", "WWW.EXAMPLE.COM", "www.example.com"),
    ],
)
def test_dynamic_names_are_those_of_x_ray(pattern, host, name):
    """X-Ray's dynamic naming, but in lower case and never empty."""
    assert namer(pattern).service(host) == name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("www.example.com:8000", "www.example.com"),
        ("www.example.com.", "www.example.com"),
        ("www.example.com:", "www.example.com"),
        ("WWW.Example.COM:443", "www.example.com"),
        ("my_app.example.com", "my_app.example.com"),
    ],
)
def test_ports_case_and_the_root_dot_do_not_make_names(host, name):
    """One host is one service, however it is spelt."""
    assert namer().service(host) == name


def test_ipv6_literals_are_hosts():
    """Brackets and port are no part of an address."""
    assert namer("*").service("[2001:DB8::1]:8000") == "2001:db8::1"


@pytest.mark.parametrize(
    "host",
    [
        "evil/../x.example.com",
        "a b.example.com",
        "a\r\nSet-Cookie: x.example.com",
        "\x00.example.com",
        "\udcff.example.com",
        "bücher.example.com",
        "user@www.example.com",
        "www.example.com:port",
        "www.example.com:123456",
        "a.example.com, b.example.com",
        "<script>.example.com",
        "[::1",
        "[]",
        "-.example.com",
        "a" * 200 + ".example.com",
        "x" * 65536,
    ],
)
def test_forged_hosts_fall_back(host):
    """What no host is spelt like names nothing, whatever the pattern."""
    assert namer("*").service(host) == "fb"


def test_hosts_that_do_not_match_fall_back():
    """The pattern decides."""
    assert namer().service("www.example.org") == "fb"
    assert namer("??.example.com").service("a.example.com") == "fb"
    assert namer(None).service("www.example.com") == "fb"


def test_a_forger_cannot_make_up_names_without_end():
    """After so many dynamic names the next is the service's; those known stay known, in every spelling."""
    names = namer()
    seen = {names.service(f"h{n}.example.com") for n in range(MOST_NAMES + 50)}
    assert len(seen) == MOST_NAMES + 1
    assert names.service("H7.EXAMPLE.COM:80") == "h7.example.com"
    assert names.service("h149.example.com") == "fb"
    assert repr(names) == f"<Namer fb · {MOST_NAMES} hosts>"


def test_spellings_of_a_host_are_not_remembered_without_end():
    """Memory is bounded by spellings too."""
    names = namer()
    for port in range(5000):
        assert names.service(f"www.example.com:{port}") == "www.example.com"
    assert len(names._names) <= 1024


@pytest.mark.parametrize(
    ("service", "app", "name"),
    [
        ("My app", "shop:app", "My app"),
        ("", "shop:app", "shop"),
        ("", "shop.wsgi", "shop.wsgi"),
        ("", None, "application"),
        ("", ":app", "application"),
    ],
)
def test_the_service_is_the_setting_or_the_applications_module(service, app, name):
    """Without a setting the module's name is what people recognise."""
    assert service_name(Config(service=service), app) == name
    assert Namer(Config(service=service), app).service("www.example.com") == name


@given(st.text(max_size=300))
def test_no_host_surprises_us(host):
    """Every text is a clean host or none."""
    name = clean_host(host)
    assert name is None or (name.isascii() and name.isprintable() and len(name) <= 200)


# ---------------------------------------------------------------- exclusion


@pytest.mark.parametrize(
    ("target", "entries", "excluded"),
    [
        ("http://h/_ah/health", ["_ah/health"], True),
        ("/_ah/healthz", ["_ah/health"], True),
        ("/health", ["health"], True),
        ("/api/health", ["health"], False),
        ("//health", ["/health"], True),
        ("/x?next=/health", ["health"], False),
        ("/health", [], False),
        ("http://h", ["a"], False),  # where OpenCensus raised IndexError
        ("ftp://h/health", ["health"], True),
        ("/health", ["health.*"], False),
    ],
)
def test_opencensus_entries_keep_their_meaning(target, entries, excluded):
    """A prefix without its slash, of the path and what follows it; no regular expression."""
    path, _, query = target.partition("?")
    assert Excluder(entries).excluded("GET", path, query, "h") is excluded


@pytest.mark.parametrize(
    ("entry", "method", "path", "excluded"),
    [
        ("/health", "GET", "/health", True),
        ("/health", "POST", "/health", True),
        ("/health", "GET", "/healthz", False),
        ("/health", "GET", "/health/", False),
        ("/health", "GET", "/api/health", False),
        ("/health", "GET", "http://shop.example.com/health", True),
        ("/", "GET", "/", True),
        ("/", "GET", "/a", False),
        ("/static/*", "GET", "/static/a/b.css", True),
        ("/static/*", "GET", "/static", False),
        ("/static/*", "GET", "/my/static/a", False),
        ("GET /static/*", "GET", "/static/a.css", True),
        ("get /static/*", "GET", "/static/a.css", True),
        ("GET /static/*", "POST", "/static/a.css", False),
        ("GET /health", "GET", "/health", True),
        ("GET /health", "GET", "/healthz", False),
        ("GET /health", "HEAD", "/health", False),
        ("GET health", "GET", "/health", True),
        ("/v?/ping", "GET", "/v1/ping", True),
        ("/v?/ping", "GET", "/v10/ping", False),
        ("health", "GET", "/healthz", True),
        ("health", "GET", "/api/health", False),
        ("*.css", "GET", "/a/b.css", True),
        ("*", "OPTIONS", "*", True),
        ("a.c", "GET", "/abc", False),
        ("  /health  ", "GET", "/health", True),
    ],
)
def test_paths_are_excluded_as_written(entry, method, path, excluded):
    """Exact paths, patterns, one method, prefixes: each means what it says and no more."""
    excluder = Excluder([entry])
    assert excluder.excluded(method, path, "", "shop.example.com") is excluded
    assert excluder.excluded(method, path, "", "shop.example.com") is excluded  # as remembered


@pytest.mark.parametrize(
    ("host", "excluded"),
    [
        ("internal.example.com", True),
        ("INTERNAL.example.com:8000", True),
        ("example.com", False),
        ("x.internal.example.com", False),
        (None, False),
        ("internal.\x00", False),
    ],
)
def test_hosts_are_excluded_without_port_and_case(host, excluded):
    """`host:` looks at the host only, and a forged one is no host."""
    excluder = Excluder(["host:internal.*"])
    assert excluder.excluded("GET", "/", "", host) is excluded
    assert excluder.excluded("GET", "/", "", host) is excluded


def test_a_prefix_may_reach_into_the_query():
    """OpenCensus matched the whole URL after the host."""
    excluder = Excluder(["search?probe=1"])
    assert excluder.excluded("GET", "/search", "probe=1&x=2", None)
    assert not excluder.excluded("GET", "/search", "q=1", None)


def test_nothing_is_excluded_by_nothing():
    """No entries, or blank ones, hide no request."""
    assert not Excluder([]).excluded("GET", "/health", "", "h")
    assert not Excluder(["", "  "]).excluded("GET", "/health", "", "h")
    assert repr(Excluder(["/a", "b", "GET /c*", "host:d"])) == "<Excluder 3 paths · 1 hosts>"


def test_what_is_remembered_of_paths_and_hosts_is_bounded():
    """A scanner's paths do not stay."""
    excluder = Excluder(["/static/*", "host:internal.*"])
    for n in range(3000):
        assert not excluder.excluded("GET", f"/{n}", "", f"h{n}")
        assert not excluder.excluded("GET", f"/{n}" * 200, "", "h" * 300)
    assert max(len(excluder._paths), len(excluder._named)) <= 1024
    assert max(len(path) for _, path in excluder._paths) <= 256


@given(st.text(), st.text(), st.text(), st.none() | st.text(), st.lists(st.text(), max_size=5))
def test_no_request_and_no_entry_surprises_the_excluder(method, path, query, host, entries):
    """Any text in any place gives yes or no."""
    assert Excluder(entries).excluded(method, path, query, host) in (True, False)


# ---------------------------------------------------------------- routes


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("", "/"),
        ("/users/4711/cart", "/users/{id}/cart"),
        ("/users/4711/", "/users/{id}/"),
        ("/v2/cart", "/v2/cart"),
        ("/v2.1/cart", "/v2.1/cart"),
        ("/item-5", "/item-{id}"),
        ("/order12345", "/order{id}"),
        ("/static/main.3f2a91bc.js", "/static/main.{id}.js"),
        ("/o/dBjftJeZ4CVPmB92K27u", "/o/{id}"),
        ("/days/2024-01-15", "/days/{id}"),
        ("/u/550e8400-e29b-41d4-a716-446655440000", "/u/{id}"),
        ("/u/550E8400E29B41D4A716446655440000", "/u/{id}"),
        ("/sha/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/sha/{id}"),
        ("/u/jo@example.com", "/u/{id}"),
        ("/q/two%20words", "/q/{id}"),
        ("/caf\u00e9", "/{id}"),
        ("/" + "a" * 41, "/{id}"),
        ("/.well-known/security.txt", "/.well-known/security.txt"),
        ("/oauth2/s3/utf8/base64", "/oauth2/s3/utf8/base64"),
        ("/wp-login.php", "/wp-login.php"),
        ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/*"),
    ],
)
def test_data_in_paths_becomes_a_placeholder(path, route):
    """Numbers, ids, hashes, tokens and free text are one route; words and versions stay."""
    assert routeless_name(path) == route


@given(st.text(max_size=3000))
def test_derived_routes_are_bounded_text(path):
    """Whatever the path, its route is short, printable and the same each time."""
    route = routeless_name(path)
    assert route.startswith("/")
    assert len(route) <= 8 * 41 + 2
    assert route.isascii()
    assert route.isprintable()
    assert routeless_name(path) == route


def test_a_huge_path_is_cut_before_it_is_looked_at():
    """64 KiB of path cost what 1 KiB costs, and are not remembered."""
    assert routeless_name("/" + "x/" * 32768) == "/x/x/x/x/x/x/x/x/*"
