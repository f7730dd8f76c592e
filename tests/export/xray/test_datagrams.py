"""Documents by UDP: to whatever address the daemon has, and back into the queue when nobody is there."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

import pytest
from export_kit import Clock, record
from segment_schema import checked
from standin_daemon import Daemon

from server_tracing.daemon_address import parse
from server_tracing.export.exporter import ExportError
from server_tracing.export.xray import burst
from server_tracing.export.xray.datagrams import BURST, FULL_WAITS, HEADER, PAUSE, RESOLVED_FOR, Datagrams
from server_tracing.export.xray.transport import Sheet

RECORDS = [record(number) for number in range(3)]


def sheets(one) -> list[Sheet]:
    """Two documents of each record."""
    return [Sheet(one.span_id, f"{one.path}-{part}".encode()) for part in "ab"]


class Socket:
    """A socket that answers as the test scripted: an error number per call, or None. `together` says that it
    takes bursts; what it sent is remembered call by call."""

    def __init__(self, *script: int | None, pending: int = 0, together: bool = False) -> None:
        self.script = list(script)
        self.pending = pending
        self.together = together
        self.calls: list[list[str]] = []
        self.address: object = None
        self.closed = False

    def __call__(self, *_kind: int) -> Socket:
        return self

    @property
    def sent(self) -> list[str]:
        return [document for call in self.calls for document in call]

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def connect(self, address: object) -> None:
        self.address = address

    def send(self, datagram: bytes) -> None:
        self._take([datagram])

    def sendmsg(self, content: list[bytes], control: list[tuple[int, int, bytes]]) -> None:
        assert self.together
        ((level, option, size),) = control
        assert (level, option) == (socket.SOL_UDP, burst.UDP_SEGMENT)
        (cut,) = struct.unpack("H", size)
        (all_of_it,) = content
        self._take([all_of_it[at : at + cut] for at in range(0, len(all_of_it), cut)])

    def _take(self, datagrams: list[bytes]) -> None:
        code = self.script.pop(0) if self.script else None
        if code is not None:
            raise OSError(code, "no")
        assert all(datagram.startswith(HEADER) for datagram in datagrams)
        self.calls.append([datagram[len(HEADER) :].rstrip().decode() for datagram in datagrams])

    def getsockopt(self, level: int, option: int) -> int:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR):
            return self.pending
        if not self.together:
            raise OSError(errno.ENOPROTOOPT, "no")
        return 0

    def close(self) -> None:
        self.closed = True


def way(
    sockets: Socket | Callable[..., Socket],
    *,
    clock: Clock | None = None,
    slept: list[float] | None = None,
    resolve: Callable | None = None,
    address: str = "xray.local:2000",
) -> Datagrams:
    """A way over these sockets, of a name that is resolved as given."""
    return Datagrams(
        parse(address),
        clock=clock or Clock(),
        sleep=(slept if slept is not None else []).append,
        resolve=resolve or (lambda host, port: [(socket.AF_INET, 1, 6, "", ("192.0.2.1", port))]),
        new_socket=sockets,
    )


ALL = [f"/{number}-{part}" for number in range(3) for part in "ab"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_documents_arrive_each_in_a_datagram_of_its_own(host):
    """By IPv4 and by IPv6, behind the daemon's header."""
    document = b'{"name":"shop","id":"53995c3f42cd8ad8","start_time":1,"end_time":2,' + (
        b'"trace_id":"1-5759e988-bd862e3fe1be46a994272793"}'
    )
    assert checked(document)
    try:
        daemon = Daemon(host)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with daemon:
        datagrams = Datagrams(parse(daemon.address))
        datagrams.deliver(RECORDS, lambda one: [Sheet("", document)])
        assert len(daemon.wait_for(3)) == 3
        datagrams.close()


def test_where_nobody_listens_nothing_counts_as_handed_over():
    """The kernel says so at the next datagram, or when asked at the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for records in (RECORDS, RECORDS[:1]):
        with pytest.raises(ExportError, match=rf"^nobody listens at 127\.0\.0\.1:{port} \(UDP\)$") as caught:
            Datagrams(parse(f"127.0.0.1:{port}")).deliver(records, lambda one: sheets(one)[:1])
        assert caught.value.remaining is None
        assert not caught.value.permanent
        assert "start the X-Ray daemon" in caught.value.remedy


def test_a_batch_is_told_that_nobody_listened_when_it_is_all_sent():
    """The last datagram's fate is asked for."""
    one = Socket(pending=errno.ECONNREFUSED)
    with pytest.raises(ExportError, match="nobody listens at xray"):
        way(one).deliver(RECORDS, sheets)
    assert one.sent == ALL
    assert one.closed


def test_small_datagrams_go_together_filled_up_with_blanks():
    """One call of the kernel for a burst, where it knows how; the documents are the same."""
    one = Socket(together=True)
    way(one).deliver(RECORDS, lambda one: [Sheet("", one.path.encode() * (2 if one.path == "/1" else 1))])
    assert one.calls == [["/0", "/1/1", "/2"]]
    large = Socket(together=True)
    way(large).deliver(RECORDS, lambda one: [Sheet("", one.path.encode() * 800)])
    assert [len(call) for call in large.calls] == [1, 1, 1]
    way(alone := Socket(together=True)).deliver(RECORDS[:1], lambda one: sheets(one)[:1])
    assert alone.calls == [["/0-a"]]


@pytest.mark.parametrize("code", burst.REFUSED)
def test_a_network_that_takes_no_bursts_gets_them_one_by_one(code):
    """From then on; nothing is lost, nothing sent twice."""
    one = Socket(code, together=True)
    datagrams = way(one)
    for _ in range(2):
        datagrams.deliver(RECORDS, sheets)
    assert one.calls == [[document] for document in ALL * 2]


def test_a_full_buffer_takes_a_burst_whole_or_not_at_all():
    """As it does a single one."""
    one = Socket(errno.EAGAIN, None, together=True)
    way(one).deliver(RECORDS, sheets)
    assert one.calls == [ALL]
    with pytest.raises(ExportError, match="is full") as caught:
        way(Socket(*[errno.ENOBUFS] * 9, together=True)).deliver(RECORDS, sheets)
    assert caught.value.remaining == RECORDS


def test_the_kernel_here_cuts_bursts_apart():
    """As the exporter relies on; where it cannot, this says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.bind(("127.0.0.1", 0))
        taker.settimeout(10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(taker.getsockname())
            if not burst.supported(sender):
                pytest.skip("this kernel does not")
            burst.send(sender, [b"one", b"three", b"two"])
            assert [taker.recv(100) for _ in range(3)] == [b"one  ", b"three", b"two  "]


def test_a_full_buffer_is_waited_for_and_nothing_is_lost():
    """A while longer each time."""
    slept: list[float] = []
    one = Socket(None, errno.ENOBUFS, errno.EAGAIN, None)
    way(one, slept=slept).deliver(RECORDS, sheets)
    assert one.sent == ALL
    assert slept == list(FULL_WAITS[:2])


def test_what_a_buffer_that_stays_full_has_not_taken_is_tried_again_later():
    """From the burst on that it stopped in: twice is better than never."""
    one = Socket(*[None] * BURST, *[errno.EAGAIN] * 9)
    with pytest.raises(ExportError, match="is full") as caught:
        way(one).deliver(RECORDS * 10, sheets)
    assert caught.value.remaining == (RECORDS * 10)[BURST // 2 :]
    assert caught.value.reason == "socket_full"


def test_a_long_batch_leaves_the_daemon_time_to_read():
    """What does not fit its buffer is gone without a word."""
    slept: list[float] = []
    way(Socket(), slept=slept).deliver(RECORDS * 50, sheets)
    assert slept == [PAUSE] * (300 // BURST)
    slept.clear()
    way(Socket(), slept=slept).deliver(RECORDS, lambda one: [Sheet("", b"x" * 60_000)])
    assert slept == [PAUSE] * 3


def test_other_errors_say_what_they_are():
    """In one sentence."""
    with pytest.raises(
        ExportError, match=r"^the X-Ray daemon at xray\.local:2000 cannot be reached \(EHOSTUNREACH\)$"
    ):
        way(Socket(errno.EHOSTUNREACH)).deliver(RECORDS, sheets)


def test_a_name_is_resolved_now_and_then_not_for_every_datagram():
    """And an address never."""
    asked: list[str] = []
    clock, one = Clock(), Socket()

    def resolve(host: str, port: int) -> list:
        asked.append(host)
        return [(socket.AF_INET, 1, 6, "", (f"192.0.2.{len(asked)}", port))]

    named = way(one, clock=clock, resolve=resolve)
    for seconds in (0, 1, RESOLVED_FOR):
        clock.advance(seconds)
        named.deliver(RECORDS, sheets)
    assert len(asked) == 2
    assert one.address == ("192.0.2.2", 2000)
    numbered = way(one, clock=clock, resolve=resolve, address="[::1]:2000")
    for _ in range(3):
        numbered.deliver(RECORDS, sheets)
        clock.advance(10 * RESOLVED_FOR)
    assert len(asked) == 3


def test_a_resolver_that_fails_later_leaves_the_address_that_was_known():
    """The first time it is an error that says so."""
    clock, one = Clock(), Socket()
    script = [OSError(-2, "Name or service not known"), None, OSError(-3, "Temporary failure")]

    def resolve(host: str, port: int) -> list:
        error = script.pop(0)
        if error is not None:
            raise error
        return [(socket.AF_INET, 1, 6, "", ("192.0.2.1", port))]

    named = way(one, clock=clock, resolve=resolve)
    with pytest.raises(ExportError, match=r"host 'xray\.local' cannot be found: Name or service not known"):
        named.deliver(RECORDS, sheets)
    named.deliver(RECORDS, sheets)
    clock.advance(2 * RESOLVED_FOR)
    named.deliver(RECORDS, sheets)
    assert one.sent == ALL * 2
    assert script == []


def test_a_name_with_two_addresses_is_tried_at_the_other():
    """`localhost` is ::1 first in many places, and the daemon listens on 127.0.0.1."""
    opened = [Socket(errno.ECONNREFUSED), Socket()]
    taken = iter(opened)
    both = [
        (socket.AF_INET6, 1, 6, "", ("::1", 2000, 0, 0)),
        (socket.AF_INET, 1, 6, "", ("127.0.0.1", 2000)),
    ]
    named = way(lambda *_kind: next(taken), resolve=lambda host, port: list(both))
    with pytest.raises(ExportError):
        named.deliver(RECORDS, sheets)
    named.deliver(RECORDS, sheets)
    assert [one.address for one in opened] == [both[0][4], both[1][4]]
    assert opened[1].sent == ALL


def test_a_daemon_that_answers_by_tcp_is_there():
    """By UDP alone nobody knows."""
    with Daemon(tcp=True) as daemon:
        sheet = Sheet("", b'{"name":"a","id":"53995c3f42cd8ad8","start_time":1,"end_time":2,"trace_id":'
                      b'"1-5759e988-bd862e3fe1be46a994272793"}')  # fmt: skip
        datagrams = Datagrams(parse(daemon.address), sleep=lambda seconds: None)
        assert datagrams.probe(sheet) == (
            f"a test segment was handed over to the X-Ray daemon at {daemon.address}; "
            f"by UDP nothing comes back, but its TCP port {daemon.address} answers"
        )
        datagrams.close()
        assert len(daemon.wait_for(1)) == 1


def test_its_repr_says_where_it_leads():
    """And whether it is open."""
    datagrams = way(Socket())
    assert repr(datagrams) == "<Datagrams to xray.local:2000 · closed>"
    datagrams.deliver(RECORDS, sheets)
    assert repr(datagrams) == "<Datagrams to xray.local:2000 · open>"
