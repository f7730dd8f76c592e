"""A small shop in Falcon. Knows of no recorder."""

import falcon


class User:
    def on_get(self, req, resp, number):
        resp.text = f"user {number}"


class Order:
    def on_get(self, req, resp, name, line):
        resp.text = name


class Fault:
    def on_get(self, req, resp):
        try:
            return {}["missing"]
        except KeyError as missing:
            raise ValueError("no such thing") from missing


class Refused:
    def on_get(self, req, resp, name):
        raise falcon.HTTPNotFound


class Moved:
    def on_get(self, req, resp):
        raise falcon.HTTPFound("/users/1")


def shop(app):
    app.add_route("/users/{number:int}", User())
    app.add_route("/api/v1/orders/{name}/lines/{line}", Order())
    app.add_route("/fault", Fault())
    app.add_route("/refused/{name}", Refused())
    app.add_route("/moved", Moved())
    return app


app = shop(falcon.App())
