"""A Flask application where many requests are at the same place at once. Knows of no recorder."""

import time

from flask import Flask, Response

app = Flask(__name__)


@app.get("/fails/<number>")
def fails(number):
    time.sleep(0.02)
    raise ValueError(f"/fails/{number}")


@app.get("/refuses/<number>")
def refuses(number):
    time.sleep(0.02)
    return Response("busy", status=503)


@app.get("/works/<number>")
def works(number):
    time.sleep(0.02)
    return "done"
