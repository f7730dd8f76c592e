"""What delivering a plain request to X-Ray costs the exporter's thread; see README.md.

    python benchmarks/xray_cost.py [--quick]

Exit code 0 if the budget is kept.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from bystander import serving
from measure import Variant, rounds, where, within
from plain_requests import BATCH, batches, believable

from server_tracing.config import Config, XRay
from server_tracing.export.exporter import Setup
from server_tracing.export.xray.exporter import XRayExporter
from server_tracing.record import Request

BUDGET = 8.0  # microseconds per request, encode and send
PACKAGES = ("msgspec", "aws-xray-sdk", "botocore")
DAEMON = """
import socket
daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
daemon.bind(("127.0.0.1", 0))
print(daemon.getsockname()[1], flush=True)
room = bytearray(65536)
while True: daemon.recv_into(room)
"""
SERVICE = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
    def log_message(self, *arguments): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def main() -> int:
    """Run ours and the SDK's in turn, and judge."""
    parser = argparse.ArgumentParser(description="what delivering to X-Ray costs")
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "benchmark"}
    print(where(PACKAGES))
    with serving(DAEMON) as daemon, serving(SERVICE) as service:
        variants = [*our_variants(daemon, service), *their_variants(daemon)]
        taken = rounds(variants, 6 if options.quick else 40)
    return 0 if within(BUDGET, taken, "ours, in all") else 1


def our_variants(daemon: str, service: str) -> list[Variant]:
    """The exporter as it is run, to the daemon and to the API, and the first half of its way."""
    by_daemon = exporter(XRay(daemon_address=daemon))
    by_api = exporter(XRay(transport="api", region="eu-west-1", endpoint=f"http://{service}"))
    records = believable(BATCH)

    def encode(count: int) -> None:
        for number in range(count):
            by_daemon.sheets(records[number % BATCH])

    def send(one: XRayExporter, count: int) -> None:
        for size in batches(count):
            one.export(records[:size])

    return [
        Variant("ours, in all", lambda count: send(by_daemon, count)),
        Variant("ours, document alone", encode),
        Variant("ours, in all, by the API", lambda count: send(by_api, count)),
    ]


def exporter(settings: XRay) -> XRayExporter:
    """One with these settings."""
    return XRayExporter(Setup(Config(service="shop", xray=settings), {}, "shop", ""))


def their_variants(daemon: str) -> list[Variant]:
    """Segment.serialize, and the emitter that calls it and sends."""
    from aws_xray_sdk.core.emitters.udp_emitter import UDPEmitter

    segments = list(map(their_segment, believable(BATCH)))
    emitter = UDPEmitter(daemon)

    def serialize(count: int) -> None:
        for number in range(count):
            segments[number % BATCH].serialize()

    def emit(count: int) -> None:
        for number in range(count):
            emitter.send_entity(segments[number % BATCH])

    return [Variant("the SDK, Segment.serialize alone", serialize), Variant("the SDK, its emitter", emit)]


def their_segment(request: Request) -> Any:
    """The same request as the SDK's middleware for Flask leaves it, already made."""
    from aws_xray_sdk.core.models.segment import Segment

    segment = Segment(request.service, traceid=f"1-{request.trace_id[:8]}-{request.trace_id[8:]}")
    told = {
        "url": f"https://{request.host}{request.path}",
        "method": request.method,
        "user_agent": request.user_agent,
        "client_ip": request.client_ip,
        "status": request.status,
        "content_length": request.response_bytes,
    }
    for key, value in told.items():
        segment.put_http_meta(key, value)
    segment.set_aws({"xray": {"sdk": "X-Ray for Python", "sdk_version": "2.15.0"}})
    segment.set_service({"runtime": "CPython", "runtime_version": "3.11.7"})
    segment.close()
    return segment


if __name__ == "__main__":
    sys.exit(main())
