"""The exporter for AWS X-Ray: requests as segments, to the daemon or to the API.

Nothing of the SDK is used on this way: importing it brings 425 modules and two clients nobody asked for, its
emitter loses what is larger than a datagram, and its serializer writes JSON that the service refuses. What
applications do with the SDK is the business of inside/.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from server_tracing import by_hand
from server_tracing.config import XRay
from server_tracing.daemon_address import parse
from server_tracing.export.exporter import ExportError, Setup
from server_tracing.record import Record, Request, Running

from .central import consultation
from .documents import Segment, encode
from .limits import DOCUMENT
from .packing import Packing
from .segments import Segments
from .subsegments import subsegment
from .surroundings import Explorer, Plugin
from .transport import Sheet, Transport
from .trimming import fitted

log = logging.getLogger("server_tracing.export")

BY_HAND = 5.0  # seconds between two looks for segments that were made by hand


class XRayExporter:
    """Hands segments to X-Ray."""

    name = "xray"
    running = True  # as segments that are in progress
    max_age = 0.4  # seconds: the daemon has a small buffer, and would rather get a little often

    def __init__(self, setup: Setup, transport: Transport | None = None) -> None:
        settings = setup.config.xray
        self._threshold = settings.streaming_threshold
        self._explorer = Explorer(settings.plugins, _plugins)
        self._segments = Segments(settings.version)
        self._transport = transport or _transport(settings)
        self._unencodable = 0
        self._consultation = (
            consultation(setup.central, setup.config, setup.service) if setup.central is not None else None
        )

    def tend(self) -> float:
        """Find out where this runs, send what the application made by hand, and look after the rules of the
        console, where they decide."""
        self._look_around()
        self._send_what_was_made_by_hand()
        return min(BY_HAND, self._consultation.tend() if self._consultation is not None else BY_HAND)

    def part(self) -> None:
        """Send what was made by hand since, and report what the rules have decided since."""
        self._send_what_was_made_by_hand()
        if self._consultation is not None:
            self._consultation.part()

    def _send_what_was_made_by_hand(self) -> None:
        documents = by_hand.take()
        if not documents:
            return
        try:
            self._transport.deliver(documents, lambda one: (Sheet(one.id, one.data),))  # type: ignore
        except ExportError as error:
            left = documents if error.remaining is None else error.remaining
            by_hand.give_back(() if error.permanent else left)  # type: ignore[arg-type]
            if error.permanent or error.refused:
                log.warning("segments begun by hand are lost: %s", error)

    def export(self, records: Sequence[Record]) -> None:
        """Send all of them; vitals and events have no place in X-Ray."""
        self._look_around()
        self._unencodable = 0
        try:
            self._transport.deliver(records, self.sheets)
        except ExportError as error:
            if self._unencodable and error.remaining is not None:
                error.refused = Counter(error.refused) + Counter(unencodable=self._unencodable)
            raise
        if self._unencodable:
            raise ExportError("cannot be encoded", remaining=(), refused={"unencodable": self._unencodable})

    def probe(self, record: Record) -> str:
        """Send one segment and say what came back."""
        self._look_around()
        (sheet,) = self.sheets(record)
        return self._transport.probe(sheet)

    def _look_around(self) -> None:
        """Now and then, in the thread that may wait."""
        found = self._explorer.look()
        if found is not None:
            self._segments.surroundings = found
            if self._consultation is not None:
                self._consultation.origin_is(found.origin)

    def sheets(self, record: Record) -> Sequence[Sheet]:
        """The documents of a record."""
        if type(record) is Request:
            request = record
        elif type(record) is Running:
            request = record.request
        else:
            return ()
        try:
            return self._documents(request)
        except Exception:  # noqa: BLE001 - whatever a record may hold, it costs what can be left out
            return self._bare_documents(request)

    def _documents(self, request: Request) -> Sequence[Sheet]:
        segment = self._segments.segment(request)
        if request.spans:
            return self._packed(segment, request)
        data = encode(segment)
        return (Sheet(segment.id, data if len(data) <= DOCUMENT else fitted(segment, DOCUMENT)),)

    def _bare_documents(self, request: Request) -> Sequence[Sheet]:
        """Of a record that cannot be encoded: without what the application has said, else not at all."""
        try:
            return self._documents(replace(request, annotations={}, metadata={}, spans=[], exception=None))
        except Exception:  # noqa: BLE001 - as above
            self._unencodable += request.outcome != "running"
            return ()

    def _packed(self, segment: Segment, request: Request) -> Sequence[Sheet]:
        """A segment with what happened in it."""
        directory = self._segments.directory
        children = [subsegment(span, request, directory) for span in request.spans]
        return Packing(segment, self._threshold).sheets(children)

    def close(self) -> None:
        """Let go of what is open."""
        self._transport.close()

    def __repr__(self) -> str:
        return f"<XRayExporter to {self._transport.place}>"


def _plugins() -> Mapping[str, Plugin]:
    from .plugins import PLUGINS

    return PLUGINS


def _transport(settings: XRay) -> Transport:
    if settings.transport == "api":
        from .api import Api

        return Api(settings)
    from .datagrams import Datagrams

    return Datagrams(parse(settings.daemon_address))
