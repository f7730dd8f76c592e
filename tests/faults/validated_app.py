"""The watching application between two of wsgiref's validators, with our wrapper between them and without."""

from __future__ import annotations

from wsgiref.validate import validator

import watching_app

from server_tracing import wsgi

plain = validator(validator(watching_app.wsgi))
traced = validator(wsgi(validator(watching_app.wsgi)))
