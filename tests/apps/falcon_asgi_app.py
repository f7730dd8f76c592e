"""The same shop on Falcon's ASGI side. Knows of no recorder."""

import falcon
import falcon.asgi


class User:
    async def on_get(self, req, resp, number):
        resp.text = f"user {number}"


class Order:
    async def on_get(self, req, resp, name, line):
        resp.text = name


class Fault:
    async def on_get(self, req, resp):
        try:
            return {}["missing"]
        except KeyError as missing:
            raise ValueError("no such thing") from missing


class Refused:
    async def on_get(self, req, resp, name):
        raise falcon.HTTPNotFound


class Moved:
    async def on_get(self, req, resp):
        raise falcon.HTTPFound("/users/1")


class Talk:
    async def on_websocket(self, req, ws, name):
        await ws.accept()
        await ws.close()


app = falcon.asgi.App()
app.add_route("/users/{number:int}", User())
app.add_route("/api/v1/orders/{name}/lines/{line}", Order())
app.add_route("/fault", Fault())
app.add_route("/refused/{name}", Refused())
app.add_route("/moved", Moved())
app.add_route("/talk/{name}", Talk())
