"""A small shop in Bottle. Knows of no recorder."""

from bottle import Bottle, abort, redirect

app = Bottle()
api = Bottle()


@app.get("/users/<number:int>")
def user(number):
    return f"user {number}"


@api.get("/orders/<name>/lines/<line:int>")
def order_line(name, line):
    return f"{name} {line}"


@app.get("/fault")
def fault():
    try:
        return {}["missing"]
    except KeyError as missing:
        raise ValueError("no such thing") from missing


@app.get("/refused/<name>")
def refused(name):
    abort(404)


@app.get("/moved")
def moved():
    redirect("/users/1")


old = Bottle()


@old.get("/pages/<name>")
def page(name):
    return name


def hidden(environ, start_response):
    return old(environ, start_response)


def files(environ, start_response):
    start_response("200 OK", [])
    return [b"file"]


app.mount("/api/v1/", api)
app.mount("/shops/", hidden)
app.mount("/files/", files)
