"""A small shop in Flask, as its documentation writes one. Knows of no recorder."""

from flask import Blueprint, Flask, abort, redirect
from flask.views import MethodView

app = Flask(__name__, static_folder=None)
api = Blueprint("api", __name__)


@app.get("/users/<int:number>")
def user(number):
    return f"user {number}"


@api.get("/orders/<name>/lines/<int:line>")
def order_line(name, line):
    return f"{name} {line}"


class Items(MethodView):
    def get(self, number):
        return f"item {number}"


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
    return redirect("/users/1")


@app.get("/slash/")
def slash():
    return "slash"


@app.get("/handled")
def handled():
    raise LookupError("kept from the server")


@app.errorhandler(LookupError)
def answer(error):
    return "sorry", 503


app.add_url_rule("/items/<int:number>", view_func=Items.as_view("items"))
app.register_blueprint(api, url_prefix="/api/v1")
