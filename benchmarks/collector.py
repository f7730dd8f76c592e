"""Takes whatever is posted to it, or sent by UDP to the same port, and keeps nothing.

Prints the port first, and runs until it is ended.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer


class Collector(BaseHTTPRequestHandler):
    """Says yes to everything, over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        posted = self.rfile.read(int(self.headers["Content-Length"]))
        answer = b"" if self.path == "/v1/traces" else accepted(posted)
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *words: object) -> None:
        """Not a word."""


def accepted(posted: bytes) -> bytes:
    """As Application Insights says that it has taken every item."""
    items = gzip.decompress(posted).count(b"\n") + 1
    return json.dumps({"itemsReceived": items, "itemsAccepted": items, "errors": []}).encode()


def take_datagrams(port: int) -> None:
    """As a daemon does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", port))
        while daemon.recv(65536):
            pass


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=take_datagrams, args=[server.server_port], daemon=True).start()
    print(server.server_port, flush=True)
    server.serve_forever()
