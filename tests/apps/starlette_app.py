"""A small shop in Starlette: mounts with parameters, a host, a class, a socket. Knows of no recorder."""

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute


async def say(request):
    return PlainTextResponse(str(request.path_params))


class Items(HTTPEndpoint):
    async def get(self, request):
        return PlainTextResponse("item")


def fault(request):
    try:
        return {}["missing"]
    except KeyError as missing:
        raise ValueError("no such thing") from missing


async def refused(request):
    raise HTTPException(404)


async def moved(request):
    return RedirectResponse("/users/1", 302)


async def handled(request):
    raise LookupError("kept from the server")


async def answer(request, error):
    return PlainTextResponse("sorry", 503)


async def talk(socket):
    await socket.accept()
    await socket.close()


async def files(scope, receive, send):
    await PlainTextResponse("file")(scope, receive, send)


orders = [Route("/orders/{name}/lines/{line:int}", say)]

app = Starlette(
    routes=[
        Route("/users/{number:int}", say, methods=["GET"]),
        Route("/items/{number}", Items),
        Route("/fault", fault),
        Route("/refused/{name}", refused),
        Route("/moved", moved),
        Route("/slash/", say),
        Route("/handled", handled),
        WebSocketRoute("/talk/{name}", talk),
        Mount("/api", routes=[Mount("/v1", routes=orders)]),
        Mount("/tenants/{tenant}", app=Starlette(routes=orders)),
        Mount("/files", app=files),
        Host("admin.test", app=Starlette(routes=[Route("/people/{name}", say)])),
    ],
    exception_handlers={LookupError: answer},
)
