"""What leaves, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.config import Capture
from server_tracing.redact import LONGEST_HEADER, LONGEST_MESSAGE, LONGEST_QUERY, Redactor

redactor = Redactor(Capture())


# ---------------------------------------------------------------- queries


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("q=shoes&page=2", "q=shoes&page=2"),
        ("token=abc&x=1", "token=***&x=1"),
        ("x=1&access_token=abc", "x=1&access_token=***"),
        ("PassWord=x", "PassWord=***"),
        ("api_key=x&apikey=x&API-Key=x", "api_key=***&apikey=***&API-Key=***"),
        ("code=x&zipcode=12345", "code=***&zipcode=12345"),
        ("sig=x&signature=x&design=x", "sig=***&signature=***&design=x"),
        ("sessionid=x&auth=x", "sessionid=***&auth=***"),
        ("X-Amz-Credential=x&x-amz-date=x", "X-Amz-Credential=***&x-amz-date=***"),
        ("a=1;password=x;b=2", "a=1;password=***;b=2"),
        ("a=1;token=x&b", "a=1;token=***&b"),
        ("token=a&token=b", "token=***&token=***"),
        ("token=&x=1", "token=&x=1"),
        ("token", "token"),
        ("token=a=b", "token=***"),
        ("%74oken=abc", "%74oken=***"),
        ("pass%57ord=abc", "pass%57ord=***"),
        ("+token+=abc", "+token+=***"),
        ("user%5Bpassword%5D=abc", "user%5Bpassword%5D=***"),
        ("oauth[code]=abc", "oauth[code]=***"),
        ("%FF%FEtoken=abc", "%FF%FEtoken=***"),
        ("next=https%3A%2F%2Fx%2F%3Ftoken%3Dabc", "next=***"),
        ("next=https%253A%252F%252Fx%252F%253Ftoken%253Dabc", "next=***"),
        ("next=/x?token=abc", "next=***"),
        ("next=/x?page=2", "next=/x?page=2"),
        ("next=https%3A%2F%2Fx%2F%3Fpage%3D2", "next=https%3A%2F%2Fx%2F%3Fpage%3D2"),
        ("token%3Dabc", "***"),
        ("a&x%3Db", "a&x%3Db"),
        ("&&=&==&;", "&&=&==&;"),
        ("=x", "=x"),
        ("a%", "a%"),
    ],
)
def test_secrets_are_hidden_and_all_else_is_as_it_came(query, shown):
    """Names decide, decoded and whatever their case; separators, order and blanks stay."""
    assert redactor.query(query) == shown
    assert redactor.query(query) == shown  # as remembered


@pytest.mark.parametrize(("mode", "shown"), [("keep", "token=abc"), ("redact", "token=***"), ("drop", None)])
def test_the_three_modes(mode, shown):
    """keep, redact, drop."""
    assert Redactor(Capture(query=mode)).query("token=abc") == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/cart;jsessionid=abc", "/cart;jsessionid=***"),
        ("/cart;jsessionid=abc;v=2/items", "/cart;jsessionid=***;v=2/items"),
        ("/cart%3Fa=1&token=abc", "/cart%3Fa=1&token=***"),
        ("/token=abc/x", "/token=***/x"),
        ("/a=b;c==/=", "/a=b;c==/="),
        ("/token;code/password", "/token;code/password"),
    ],
)
def test_paths_have_parameters_too(path, shown):
    """Where a server writes sessions into addresses, and where a client encoded a question mark."""
    assert redactor.path(path) == shown
    assert Redactor(Capture(query="keep")).path(path) == path


def test_no_query_is_no_query():
    """An empty query is absent, in every mode."""
    assert redactor.query("") is None


def test_the_users_own_list_replaces_ours():
    """With every kind of glob."""
    own = Redactor(Capture(redact=("exact", "begin*", "*end", "*in*", "o?e", "a*z", "*-*-*")))
    query = "exact=1&beginning=1&weekend=1&minor=1&one=1&abcz=1&x-y-z=1&token=1&oe=1"
    hidden = "exact=***&beginning=***&weekend=***&minor=***&one=***&abcz=***&x-y-z=***&token=1&oe=1"
    assert own.query(query) == hidden
    assert repr(own) == "<Redactor redact · 7 names · 0 headers>"


def test_an_empty_list_hides_nothing_and_a_star_everything():
    """The two ends of the setting."""
    assert Redactor(Capture(redact=())).query("token=1") == "token=1"
    assert Redactor(Capture(redact=("*",))).query("a=1&b=2") == "a=***&b=***"


def test_a_huge_query_is_cut_and_keeps_no_secret():
    """Length and number of parameters are bounded, also where the cut falls into a secret."""
    assert len(redactor.query("q=" + "x" * 100_000) or "") == LONGEST_QUERY
    assert "s3cr3t" not in (redactor.query("a=" + "x" * (LONGEST_QUERY - 20) + "&token=s3cr3t" * 9) or "")
    many = redactor.query("&".join(f"token{n}=s3cr3t" for n in range(1000))) or ""
    assert "s3cr3t" not in many
    assert many.endswith("&…")


def test_what_is_remembered_of_names_is_bounded():
    """Names are written by strangers."""
    own = Redactor(Capture())
    for n in range(3000):
        own.query(f"n{n}=1&{'x' * 200}{n}=1")
    assert len(own._secret.known) <= 1024
    assert max(map(len, own._secret.known)) <= 128


@given(st.text() | st.text("&;=%+[]?#0aFtoken", max_size=200))
def test_no_query_surprises_us(query):
    """Every text gives text that can be encoded, in every mode."""
    for mode in ("keep", "redact", "drop"):
        shown = Redactor(Capture(query=mode)).query(query)
        assert shown is None or shown.encode() is not None


@given(st.text("abc&;=%+[].", max_size=60), st.text("abc&;=%+[].", max_size=60))
def test_a_secret_is_hidden_wherever_it_stands(before, after):
    """Whatever surrounds it, the value of a secret is not to be seen."""
    shown = redactor.query(f"{before}&token=S3CR3T&{after}") or ""
    assert "S3CR3T" not in shown


def test_lone_surrogates_are_spelt_out():
    """Bytes that were no text must not make the record unwritable."""
    assert redactor.query("a=\udcff") == "a=\\udcff"


# ---------------------------------------------------------------- headers


def test_only_listed_headers_leave():
    """The allow-list is empty unless somebody fills it; case does not matter; repeats are joined."""
    given_headers = [("X-A", "1"), ("x-a", "2"), ("ACCEPT", "*/*"), ("x-b", "3")]
    assert redactor.headers(given_headers) == {}
    listed = Redactor(Capture(headers=("x-a", "accept")))
    assert listed.headers(given_headers) == {"x-a": "1, 2", "accept": "*/*"}


@pytest.mark.parametrize(
    "name", ["Cookie", "Authorization", "Proxy-Authorization", "Set-Cookie", "COOKIE", "authorization"]
)
def test_credentials_never_leave_even_when_listed(name):
    """Whoever lists them made a mistake."""
    listed = Redactor(Capture(headers=(name, "accept")))
    assert listed.headers([(name, "s3cr3t"), ("accept", "a")]) == {"accept": "a"}


@pytest.mark.parametrize("value", ["\x00", "\udcff\udcfe", "x" * 65536, "\r\n", ""])
def test_header_values_are_bounded_and_encodable(value):
    """NUL, lone surrogates, 64 KiB."""
    shown = Redactor(Capture(headers=("x",))).headers([("X", value)] * 3)["x"]
    assert len(shown.encode()) <= 6 * LONGEST_HEADER


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("no such user", "no such user"),
        ("password=hunter2, user=x", "password=***, user=x"),
        ("{'password': 'hunter2', 'n': 1}", "{'password': '***', 'n': 1}"),
        ('{"api_key": "hunter2"}', '{"api_key": "***"}'),
        ("token: abc123def456", "token: ***"),
        ("Bearer abcdefghijklm123 was refused", "Bearer *** was refused"),
        ("Authorization: Bearer xyz", "Authorization: ***"),
        ("Cookie: a=hunter2; c=d\nnext line", "Cookie: ***\nnext line"),
        ("postgres://user:hunter2@db/shop failed", "postgres://***@db/shop failed"),
        (
            "InstrumentationKey=0000-11;IngestionEndpoint=https://x/",
            "InstrumentationKey=***;IngestionEndpoint=https://x/",
        ),
        (
            "DefaultEndpointsProtocol=https;AccountKey=abc==;EndpointSuffix=x",
            "DefaultEndpointsProtocol=https;AccountKey=***;EndpointSuffix=x",
        ),
        ("SharedAccessKey=abc=", "SharedAccessKey=***"),
        ("Server=db;Password=hunter2;", "Server=db;Password=***;"),
        ("GET /x?token=hunter2&b=1 failed", "GET /x?token=***&b=1 failed"),
        ("bad token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "bad token ***"),
        ("at https://db:5432/shop?password=hunter2 again", "at https://db:5432/shop?password=*** again"),
        ("state=from:a,token=hunter2", "state=from:a,token=***"),
    ],
)
def test_messages_lose_what_looks_like_a_credential(message, shown):
    """Assignments to secret names, tokens, headers, credentials in URLs, connection strings."""
    assert redactor.message(message) == shown


@pytest.mark.parametrize(
    "message",
    [
        "auth: failed",
        "code=404",
        "exit code: 1",
        "KeyError: 'token'",
        "Invalid token: 'x'",
        "basic authentication required",
        "the session: closed by peer",
        "expected token: ''",
        "status code 502",
        "a == b",
        "12:30:45",
    ],
)
def test_messages_stay_readable(message):
    """Prose that merely speaks of codes and tokens is left alone."""
    assert redactor.message(message) == message


@pytest.mark.parametrize(
    "message",
    ["x" * 10**6, "token=" * 10**5, "eyJ-" * 10**5, "a" * 10**6 + "=", "bearer " * 10**5, "://" * 10**5],
)
def test_messages_are_bounded(message):
    """A megabyte of message costs what four kilobytes cost."""
    assert len(redactor.message(message)) <= LONGEST_MESSAGE + 100


@given(st.text())
def test_no_message_surprises_us(message):
    """Every text gives text that can be encoded."""
    assert redactor.message(message).encode() is not None
