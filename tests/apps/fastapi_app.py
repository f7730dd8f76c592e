"""A small shop in FastAPI. Knows of no recorder."""

from fastapi import APIRouter, FastAPI, HTTPException, WebSocket
from fastapi.responses import JSONResponse, RedirectResponse

app = FastAPI()
api = APIRouter(prefix="/orders")
tenant = FastAPI()


@app.get("/users/{number}")
async def user(number: int):
    return number


@api.get("/{name}/lines/{line}")
def order_line(name: str, line: int):
    return line


@tenant.get("/people/{name}")
async def person(name: str):
    return name


@app.get("/fault")
def fault():
    try:
        return {}["missing"]
    except KeyError as missing:
        raise ValueError("no such thing") from missing


@app.get("/refused/{name}")
async def refused(name: str):
    raise HTTPException(404)


@app.get("/moved")
async def moved():
    return RedirectResponse("/users/1", 302)


@app.get("/slash/")
async def slash():
    return "slash"


@app.get("/handled")
async def handled():
    raise LookupError("kept from the server")


@app.middleware("http")
async def in_between(request, call_next):
    return await call_next(request)


@app.exception_handler(LookupError)
async def answer(request, error):
    return JSONResponse("sorry", 503)


@app.websocket("/talk/{name}")
async def talk(socket: WebSocket, name: str):
    await socket.accept()
    await socket.close()


app.include_router(api, prefix="/api/v1")
app.mount("/tenant", tenant)
app.mount("/tenants/{tenant}", tenant)
