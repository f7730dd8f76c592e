"""A small shop in Django, in one file: WSGI and ASGI, languages, included URLs. Knows of no recorder."""

import sys

import django
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.core.asgi import get_asgi_application
from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import include, path, re_path
from django.views import View

settings.configure(
    SECRET_KEY="for the tests",
    ROOT_URLCONF=sys.modules[__name__],
    ALLOWED_HOSTS=["*"],
    USE_I18N=True,
    LANGUAGE_CODE="en",
    LANGUAGES=[("en", "English"), ("de", "Deutsch")],
    MIDDLEWARE=["django.middleware.locale.LocaleMiddleware", "django.middleware.common.CommonMiddleware"],
    LOGGING_CONFIG=None,
)
django.setup()


def say(request, **arguments):
    return HttpResponse(str(arguments))


async def say_later(request, **arguments):
    return HttpResponse(str(arguments))


class Items(View):
    def get(self, request, number):
        return HttpResponse("item")


def fault(request):
    try:
        return {}["missing"]
    except KeyError as missing:
        raise ValueError("no such thing") from missing


def refused(request, name):
    raise Http404


def forbidden(request):
    raise PermissionDenied


def moved(request):
    return HttpResponseRedirect("/users/1")


orders = [path("orders/<slug:name>/lines/<int:line>", say)]

urlpatterns = [
    path("users/<int:number>", say),
    path("later/<int:number>", say_later),
    path("items/<int:number>", Items.as_view()),
    path("fault", fault),
    path("refused/<str:name>", refused),
    path("forbidden", forbidden),
    path("moved", moved),
    path("slash/", say),
    path("api/", include([path("v1/", include(orders))])),
    re_path(r"^archive/(?P<year>[0-9]{4})/$", say),
    *i18n_patterns(path("news/<slug:name>", say)),
]

application = get_wsgi_application()
asgi_application = get_asgi_application()
