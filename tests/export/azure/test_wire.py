"""The way to the service: TLS, redirects, proxies, tokens."""

from __future__ import annotations

import datetime
import ipaddress
import re
import socket
import ssl
import sys
import threading
from base64 import b64encode
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest

pytest.importorskip("cryptography", reason="comes with azure-identity, which makes the certificates here")

from azure_kit import exporter, exporting, request
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ingestion import Answer, Ingestion

from server_tracing.export.azure.credentials import EARLY, NoTokenError, Tokens
from server_tracing.export.azure.route import MOST_HOPS, RedirectError, Route
from server_tracing.export.azure.trust import BUNDLES, trusted
from server_tracing.export.azure.wire import UnreachableError, Wire
from server_tracing.export.exporter import ExportError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 and localhost, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    day = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(day)
        .not_valid_after(day + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return str(file)


@pytest.fixture
def secure(certificate, monkeypatch):
    """Makes services that are reached by https; their certificate is trusted."""
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made: list[Ingestion] = []

    def secure(name: str = "127.0.0.1") -> Ingestion:
        made.append(Ingestion(context, name=name).__enter__())
        return made[-1]

    yield secure
    for service in made:
        service.close()


@pytest.fixture
def service():
    with Ingestion() as service:
        yield service


def sentence(one, *records) -> str:
    with pytest.raises(ExportError) as caught:
        one.export(records or [request()])
    assert len(caught.value.remaining) == len(records or [1])
    return str(caught.value)


# ---------------------------------------------------------------- TLS and redirects


def test_by_https_over_one_connection(secure):
    """One handshake for all batches."""
    service = secure()
    with exporting(service) as one:
        for number in range(3):
            one.export([request(number)])
    assert len(service.requests()) == 3
    assert service.connections == 1


def test_a_certificate_nobody_vouches_for_is_not_trusted(secure, monkeypatch):
    """In one sentence."""
    service = secure()
    monkeypatch.delenv("SSL_CERT_FILE")
    with exporting(service) as one:
        assert f"the certificate of {service.endpoint} is not trusted" in sentence(one)
    assert service.posts == []


@pytest.mark.parametrize("variable", BUNDLES)
def test_certificates_that_requests_was_told_of_are_trusted(secure, monkeypatch, certificate, variable):
    """Where OpenCensus got through, so do we; a bundle that is not there is a sentence."""
    service = secure()
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv(variable, certificate)
    with exporting(service) as one:
        one.export([request()])
    monkeypatch.setenv(variable, "/no/such/file")
    with exporting(service) as one:
        assert f"the certificates named by {variable} cannot be read" in sentence(one)


def test_an_image_without_certificates_has_those_that_come_with_requests(monkeypatch, tmp_path):
    """A container that was made small."""
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert trusted().cert_store_stats()["x509_ca"] > 50


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_is_followed_and_remembered(secure, status):
    """From https to https; the next batch goes there at once."""
    first, second = secure(), secure("localhost")
    first.script(Answer(status, {"Location": f"{second.endpoint}/v2.1/track"}))
    with exporting(first) as one:
        one.export([request(1)])
        one.export([request(2)])
    assert (len(first.posts), len(second.requests())) == (1, 2)
    assert second.posts[0].path == "/v2.1/track"


def test_an_address_that_fails_after_a_redirect_is_forgotten(secure):
    """The configured one is asked again."""
    first, second = secure(), secure()
    first.script(Answer(307, {"Location": second.endpoint}))
    second.script(Answer(), Answer(404))
    with exporting(first) as one:
        one.export([request(1)])
        sentence(one, request(2))
        one.export([request(2)])
    assert [len(service.requests()) for service in (first, second)] == [1, 1]


def test_redirects_in_a_circle_have_an_end(secure):
    """Nothing is lost in it."""
    service = secure()
    service.always = Answer(308, {"Location": f"{service.endpoint}/v2.1/track"})
    with exporting(service) as one:
        assert "in a circle" in sentence(one)
    assert len(service.posts) == MOST_HOPS


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:1/v2.1/track", "//u:p@127.0.0.1/", "", "ftp://127.0.0.1/", "javascript:1"],
)
def test_a_redirect_to_anywhere_else_is_not_followed(secure, location):
    """Telemetry goes on from https to https only; the records wait."""
    service = secure()
    service.script(Answer(307, {"Location": location}))
    with exporting(service) as one:
        assert "redirects" in sentence(one)


@pytest.mark.parametrize("location", ["https://[x]/", "https://[::::]/"])
def test_a_redirect_to_nonsense_costs_nothing(secure, location):
    """Some versions of Python see at once that it is no address, others when it is to be found."""
    service = secure()
    service.script(Answer(307, {"Location": location}))
    with exporting(service) as one:
        sentence(one)
        one.export([request()])
    assert len(service.requests()) == 1


def test_a_redirect_from_plain_http_is_not_followed(service, secure):
    """Anybody could have answered it."""
    elsewhere = secure()
    service.script(Answer(307, {"Location": f"{elsewhere.endpoint}/v2.1/track"}))
    with exporting(service) as one:
        assert "https only" in sentence(one)
    assert elsewhere.posts == []


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://b.example/v2.1/track", "https://b.example/v2.1/track"),
        ("https://b.example", "https://b.example/v2.1/track"),
        ("https://b.example:444/x/track?a=1#f", "https://b.example:444/x/track?a=1"),
        ("/other/track", "https://a.example/other/track"),
    ],
)
def test_where_a_redirect_leads(location, url):
    """Its path counts where it has one."""
    route = Route("https://a.example/")
    route.follow(location)
    assert (route.url, route.redirected) == (url, True)
    route.reset()
    assert (route.url, route.redirected) == ("https://a.example/v2.1/track", False)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://a.example/", "https://a.example/v2.1/track"),
        ("https://a.example/gate/", "https://a.example/gate/v2.1/track"),
        ("https://a.example/gate/?code=x=", "https://a.example/gate/v2.1/track?code=x="),
    ],
)
def test_the_services_path_is_added_to_the_endpoints(endpoint, url):
    """Which may be a gateway's, with something behind it."""
    assert Route(endpoint).url == url


@pytest.mark.parametrize("location", ["", "//[", "https://b:99999/", "https://b:x/"])
def test_a_route_refuses_what_is_no_address(location):
    """With a sentence."""
    with pytest.raises(RedirectError, match="to nowhere"):
        Route("https://a.example").follow(location)


def test_nobody_else_is_spoken_to(secure, monkeypatch):
    """No telemetry about the exporter, no metadata service, no second endpoint: one host is asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: asked.append(host) or real(host, *rest, **more)
    )
    service = secure()
    with exporting(service) as one:
        one.export([request()])
        one.probe(request(2))
    assert set(asked) == {"127.0.0.1"}
    assert service.connections == 1


# ---------------------------------------------------------------- proxies


class Proxy:
    """A proxy for both ways: whole URLs for http, tunnels for https. It remembers what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.asked: list[tuple[str, str]] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                thread = threading.Thread(target=self._pass_on, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            first, _, rest = head.partition(b"\r\n")
            method, target, _ = first.decode().split(" ")
            credentials = re.search(rb"Proxy-Authorization: (.*)\r\n", head)
            self.asked.append((f"{method} {target}", credentials[1].decode() if credentials else ""))
            if method == "CONNECT" or b" 200 " not in self._answer:
                client.sendall(self._answer)
            if b" 200 " in self._answer:
                host = target if method == "CONNECT" else target.split("/")[2]
                with socket.create_connection(host.rsplit(":", 1)) as server:
                    if method != "CONNECT":
                        server.sendall(f"{method} /{target.split('/', 3)[3]} HTTP/1.1\r\n".encode() + rest)
                    both_ways(client, server)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)


def both_ways(one: socket.socket, other: socket.socket) -> None:
    """Pass on until one of them ends."""
    there = threading.Thread(target=pump, args=(one, other), daemon=True)
    there.start()
    pump(other, one)
    there.join(10)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxying(answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n"):
    proxy = Proxy(answer)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.mark.parametrize("tls", [False, True])
def test_a_proxy_that_is_set_is_gone_through(service, secure, tls):
    """With its credentials, which inside a tunnel it alone gets to see."""
    where = secure() if tls else service
    with proxying() as proxy:
        address = f"http://u%40x:p@{proxy.address}"
        with exporting(where, proxies={"http": address, "https": address}) as one:
            one.export([request(1)])
            one.export([request(2)])
    asked = f"CONNECT 127.0.0.1:{where.port}" if tls else f"POST {where.endpoint}/v2.1/track"
    assert proxy.asked == [(asked, f"Basic {b64encode(b'u@x:p').decode()}")]
    assert len(where.requests()) == 2
    assert not tls or "proxy-authorization" not in where.posts[0].headers


def test_the_environments_proxy_is_used_unless_it_says_not_for_this_host(service, monkeypatch):
    """As every other program does; `off` is off."""
    with proxying() as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        for none, proxies, through in (("", None, 1), ("127.0.0.1", None, 0), ("", {}, 0)):
            monkeypatch.setenv("no_proxy", none)
            proxy.asked.clear()
            with exporting(service, proxies=proxies) as one:
                one.export([request()])
            assert len(proxy.asked) == through


@pytest.mark.parametrize("address", ["http://u:s3cr3t/x@h:1", "socks5://u:s3cr3t@h:1", "http://u:s3cr3t"])
def test_a_proxy_of_the_environment_that_is_none_is_a_sentence(service, monkeypatch, address):
    """Which does not repeat what may be a password."""
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("no_proxy", "")
    with exporting(service, proxies=None) as one:
        said = sentence(one)
    assert "the http_proxy of the environment is not an http proxy" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_goes_wrong_on_the_way_to_a_proxy_is_said_of_the_proxy(scheme):
    """Nobody is sent to look at the endpoint; and nobody is told the password."""
    for host, said in (("127.0.0.1:1", "refused"), ("nowhere.invalid:1", "not known to the DNS")):
        wire = Wire(5.0, {scheme: f"http://u:s3cr3t@{host}"})
        with pytest.raises(UnreachableError) as caught:
            wire.post(f"{scheme}://a.example/v2.1/track", b"", {})
        assert said in str(caught.value)
        assert f"the proxy http://{host}" in str(caught.value)
        assert "s3cr3t" not in str(caught.value)


def test_a_proxy_that_wants_credentials_says_so(service, secure):
    """The sentence names the setting."""
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with proxying(answer) as proxy:
        for where in (service, secure()):
            both = {"http": f"http://{proxy.address}", "https": f"http://{proxy.address}"}
            with exporting(where, proxies=both) as one:
                said = sentence(one)
            assert "407" in said or "wants credentials" in said


# ---------------------------------------------------------------- tokens


class Credential:
    """Gives tokens that count themselves."""

    def __init__(self, lasts: float = 3600.0, now: float = 1000.0) -> None:
        self.given = 0
        self.scopes: list[str] = []
        self._ends = now + lasts

    def get_token(self, *scopes: str, **_: object):
        self.given += 1
        self.scopes += scopes
        return SimpleNamespace(token=f"t{self.given}", expires_on=self._ends)


def test_a_token_is_sent_and_kept_until_shortly_before_its_end():
    """And made out for the service's audience."""
    credential, time = Credential(), [1000.0]
    tokens = Tokens(credential, "https://monitor.azure.com", lambda: time[0])
    assert [tokens.header() for _ in range(3)] == ["Bearer t1"] * 3
    assert credential.scopes == ["https://monitor.azure.com//.default"]
    time[0] += 3600 - EARLY
    assert tokens.header() == "Bearer t2"


def test_a_token_that_cannot_be_renewed_early_is_used_to_its_end():
    """Whoever gives them out has some minutes to come back."""
    credential, time = Credential(), [1000.0]
    tokens = Tokens(credential, "https://monitor.azure.com", lambda: time[0])
    tokens.header()
    credential.get_token = None
    time[0] += 3600 - 1
    assert tokens.header() == "Bearer t1"
    time[0] += 1
    with pytest.raises(NoTokenError):
        tokens.header()


def test_a_token_the_service_does_not_accept_is_renewed_at_once(secure):
    """Once; then the records wait."""
    service, credential = secure(), Credential(1e12)
    with exporting(service, credential=credential) as one:
        service.script(Answer(401))
        one.export([request(1)])
        assert [post.headers["authorization"] for post in service.posts] == ["Bearer t1", "Bearer t2"]
        service.script(Answer(401), Answer(401))
        assert "does not accept our credentials" in sentence(one, request(2))
        one.export([request(2)])
    assert len(service.requests()) == 2


class Failing:
    """Fails until it does not."""

    def __init__(self) -> None:
        self.failures = 1

    def get_token(self, *_scopes: str):
        if self.failures:
            self.failures -= 1
            raise OSError("the token service is down\nsecond line")
        return SimpleNamespace(token="t", expires_on=1e12)


def test_without_a_token_the_records_wait(secure):
    """With what the credential said, in one line."""
    service = secure()
    with exporting(service, credential=Failing()) as one:
        assert sentence(one) == "there is no token from Failing: OSError: the token service is down"
        one.export([request()])
    assert service.posts[0].headers["authorization"] == "Bearer t"


def made_by_name():
    return Credential()


ready = Credential()


@pytest.mark.parametrize(
    "name", ["test_wire_names:made_by_name", "test_wire_names:ready", "test_wire_names:Credential"]
)
def test_a_credential_may_be_named(name, monkeypatch):
    """A class, a function that makes one, or an object."""

    monkeypatch.setitem(sys.modules, "test_wire_names", sys.modules[__name__])
    assert Tokens(name, "a").header().startswith("Bearer t")


def test_the_names_of_azure_identity_are_known():
    """They are made when they are needed, and ask for nothing before."""
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

    from server_tracing.export.azure.credentials import made

    assert isinstance(made("DefaultAzureCredential"), DefaultAzureCredential)
    assert not isinstance(made("DefaultAzureCredential"), ClientSecretCredential)


@pytest.mark.parametrize("name", ["NoSuchCredential", "no.such.module:Credential", "os:nothing"])
def test_a_credential_that_is_not_there_is_a_sentence(name):
    """And the records wait for a restart with the right one."""
    with pytest.raises(NoTokenError, match=f"there is no credential called {name}"):
        Tokens(name, "a").header()


def test_without_the_extra_a_credential_says_so(monkeypatch):
    """It is what brings azure.identity."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(NoTokenError, match=r"server-tracing\[azure\] is needed"):
        Tokens("DefaultAzureCredential", "a").header()


def test_an_asynchronous_credential_is_not_for_threads():
    """The sentence says which one is."""

    class Asynchronous:
        async def get_token(self, *_scopes: str): ...

    with pytest.raises(NoTokenError, match="Asynchronous is asynchronous"):
        Tokens(Asynchronous(), "a").header()


def test_items_that_were_refused_for_the_token_are_not_sent_with_those_that_were_accepted(secure):
    """Only they wait for the new token."""
    service, credential = secure(), Credential(1e12)
    service.script(Answer(206, errors={1: (401, "token")}))
    with exporting(service, credential=credential) as one:
        with pytest.raises(ExportError) as caught:
            one.export([request(1), request(2)])
        one.export(caught.value.remaining)
    assert [post.headers["authorization"] for post in service.posts] == ["Bearer t1", "Bearer t2"]
    assert [data["id"] for data in service.requests()] == [f"{number:016x}" for number in (1, 2)]


def test_tokens_are_not_shown(secure):
    """In no repr, in no error."""
    service = secure()
    service.script(Answer(403), Answer(403))
    one = exporter(service, credential=Credential(1e12))
    assert "t1" not in sentence(one) + repr(one)
    one.close()
