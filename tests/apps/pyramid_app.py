"""A small shop in Pyramid, with a view for every exception. Knows of no recorder."""

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPNotFound
from pyramid.response import Response


def user(request):
    return Response(f"user {request.matchdict['number']}")


class Items:
    def __init__(self, request):
        self.request = request

    def get(self):
        return Response("item")


def fault(request):
    try:
        return {}["missing"]
    except KeyError as missing:
        raise ValueError("no such thing") from missing


def refused(request):
    raise HTTPNotFound()


def moved(request):
    return HTTPFound("/users/1")


def answer(error, request):
    return Response("sorry", status=500)


def api(config):
    config.add_route("order_line", "/orders/{name}/lines/{line}")
    config.add_view(user_of_order, route_name="order_line")


def user_of_order(request):
    return Response(request.matchdict["name"])


with Configurator() as config:
    config.add_route("user", "/users/{number:[0-9]+}")
    config.add_view(user, route_name="user", request_method="GET")
    config.add_route("item", "items/{number}")
    config.add_view(Items, attr="get", route_name="item")
    config.add_route("item_written", "/written/{number}", request_method="POST")
    config.add_view(user, route_name="item_written")
    for name, view in (("fault", fault), ("moved", moved)):
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)
    config.add_route("refused", "/refused/{name}")
    config.add_view(refused, route_name="refused")
    config.add_exception_view(answer, context=ValueError)
    config.include(api, route_prefix="/api/v1")
    app = config.make_wsgi_app()
