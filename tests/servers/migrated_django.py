"""A Django project that still has all of the X-Ray SDK and of OpenCensus: settings, middleware, applications.

Settings module, URLs and application in one. TEST_WITHOUT takes the SDKs' middleware and applications away,
as one does who has moved on, and leaves their settings.
"""

from __future__ import annotations

import os

DEBUG = False
SECRET_KEY = "for the tests"
ROOT_URLCONF = __name__
ALLOWED_HOSTS = ["shop"]
LOGGING_CONFIG = None
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
if "TEST_WITHOUT" not in os.environ:
    INSTALLED_APPS = ["aws_xray_sdk.ext.django"]
    MIDDLEWARE = [
        "aws_xray_sdk.ext.django.middleware.XRayMiddleware",
        "opencensus.ext.django.middleware.OpencensusMiddleware",
        "django.middleware.common.CommonMiddleware",
    ]
XRAY_RECORDER = {
    "AWS_XRAY_TRACING_NAME": "My shop",
    "AWS_XRAY_DAEMON_ADDRESS": os.environ.get("TEST_DAEMON", "127.0.0.1:9"),
    "AUTO_INSTRUMENT": True,
    "SAMPLING": False,
    "STREAM_SQL": True,
    "SAMPLER": None,
    "MAX_TRACE_BACK": 5,
    "PATCH_MODULES": ["http.client"] if "TEST_TYPO" in os.environ else [],
}
OPENCENSUS = {
    "TRACE": {
        "SAMPLER": "opencensus.trace.samplers.ProbabilitySampler(rate=1)",
        "EXPORTER": """opencensus.ext.azure.trace_exporter.AzureExporter(
            connection_string="InstrumentationKey=12345678-1234-1234-1234-123456789abc;"
            "IngestionEndpoint=http://127.0.0.1:9"
        )""",
        "EXCLUDELIST_PATHS": ["health"],
        "PROPAGATOR": "print('never') or a.B()" if "TEST_WITHOUT" in os.environ else None,
    }
}

os.environ.setdefault("DJANGO_SETTINGS_MODULE", __name__)


def ok(request, name):
    from django.db import connection
    from django.http import HttpResponse
    from django.template import engines

    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return HttpResponse(engines["django"].from_string("hello {{ name }}").render({"name": name}))


def fail(request):
    raise KeyError("no such thing")


def health(request):
    from django.http import HttpResponse

    return HttpResponse("ok")


def __getattr__(name):
    """What needs Django, made when it is asked for: the settings must be importable first."""
    if name == "urlpatterns":
        from django.urls import path

        made = [path("ok/<name>", ok), path("fail", fail), path("healthz", health)]
    elif name == "application":
        from django.core.wsgi import get_wsgi_application

        made = get_wsgi_application()
    else:
        raise AttributeError(name)
    globals()[name] = made
    return made
