"""The watching applications, wrapped in code as somebody with another server would do it.

They import no more than that: who holds the package itself may ask for the request in hand, and is followed.
"""

from __future__ import annotations

import watching_app

from server_tracing import asgi as record_asgi
from server_tracing import wsgi as record_wsgi

wsgi = record_wsgi(watching_app.wsgi)
asgi = record_asgi(watching_app.asgi)
