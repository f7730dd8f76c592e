"""WSGI without any framework. Knows of no recorder."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
