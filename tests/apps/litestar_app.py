"""A small shop in Litestar. Knows of no recorder."""

from litestar import Controller, Litestar, Router, WebSocket, asgi, get, websocket
from litestar.exceptions import NotFoundException
from litestar.response import Redirect
from litestar.types import Receive, Scope, Send


@get("/users/{number:int}")
async def user(number: int) -> int:
    return number


class Items(Controller):
    path = "/items"

    @get("/{number:int}")
    async def one(self, number: int) -> int:
        return number


@get("/orders/{name:str}/lines/{line:int}")
async def order_line(name: str, line: int) -> str:
    return name


@get("/fault")
async def fault() -> None:
    try:
        {}["missing"]
    except KeyError as missing:
        raise ValueError("no such thing") from missing


@get("/refused/{name:str}")
async def refused(name: str) -> None:
    raise NotFoundException


@get("/moved")
async def moved() -> Redirect:
    return Redirect("/users/1")


@websocket("/talk/{name:str}")
async def talk(socket: WebSocket, name: str) -> None:
    await socket.accept()
    await socket.close()


@websocket("/break/{name:str}")
async def broken(socket: WebSocket, name: str) -> None:
    await socket.accept()
    raise LookupError("kept from the server")


@asgi("/files", is_mount=True)
async def files(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"file"})


app = Litestar(
    [user, Items, Router("/api/v1", route_handlers=[order_line]), fault, refused, moved, talk, broken, files]
)
