"""Django, WSGI and ASGI: routes from its URL configuration; exceptions by its signal."""

from __future__ import annotations

import sys
from typing import Any

from server_tracing.frameworks import Asked, Note
from server_tracing.frameworks.prefix_index import PrefixIndex, literal_of, literal_of_regex
from server_tracing.frameworks.resolver import Resolver

DEEPEST = 20
MOST_INDEXES = 2000


class UrlConf:
    """What ROOT_URLCONF names. A `urlconf` that middleware sets on a request cannot be known here."""

    by_host = False

    def __init__(self) -> None:
        self._indexes: dict[tuple[int, str], tuple[object, PrefixIndex[Any]]] = {}
        self._version: tuple[Any, int] = None, 0
        self._languages = False

    def version(self) -> object:
        patterns: Any = root().url_patterns
        if patterns is not self._version[0] or len(patterns) != self._version[1]:
            self._version = patterns, len(patterns)
            self._languages = any(speaks(child) for child in patterns)
            self._indexes.clear()
        return id(patterns), len(patterns)

    def find(self, asked: Asked) -> str | None:
        language = speak_as(asked.path) if self._languages else ""
        found = self._below(root(), asked.path, language, DEEPEST)
        return None if found is None else "/" + found

    def _below(self, resolver: Any, path: str, language: str, depth: int) -> str | None:
        """The route of what is left of a path, as `URLResolver.resolve` would put it together."""
        matched = resolver.pattern.match(path)
        if not matched or not depth:
            return None
        template: str
        for child, template in self._index(resolver, language).candidates(matched[0]):
            if hasattr(child, "url_patterns"):
                found = self._below(child, matched[0], language, depth - 1)
                if found is not None:
                    return template + found
            elif child.pattern.match(matched[0]):
                return template
        return None

    def _index(self, resolver: Any, language: str) -> PrefixIndex[Any]:
        patterns = resolver.url_patterns
        known = self._indexes.get((id(resolver), language))
        if known is None or known[0] is not patterns:
            if len(self._indexes) >= MOST_INDEXES:
                self._indexes.clear()
            entries = ((child, plain(str(child.pattern))) for child in patterns)
            index = PrefixIndex((*literal(entry[0]), entry) for entry in entries)
            known = self._indexes[id(resolver), language] = (patterns, index)
        return known[1]


def root() -> Any:
    """The root of the URL configuration in force, once a request has had it loaded."""
    urls: Any = sys.modules["django.urls"]
    resolver = urls.get_resolver()
    if "url_patterns" not in vars(resolver):
        raise LookupError("no request has needed the URL configuration yet")
    return resolver


def speak_as(path: str) -> str:
    """The language of a path, which from now on is this thread's: patterns and prefixes depend on it. The
    thread is the exporter's, where nobody else speaks; restoring it would cost as much as the rest."""
    settings: Any = sys.modules["django.conf"].settings
    translation: Any = sys.modules["django.utils.translation"]
    language: str = translation.get_language_from_path(path) or settings.LANGUAGE_CODE
    if translation.get_language() != language:
        translation.activate(language)
    return language


def speaks(child: Any) -> bool:
    """Whether these are i18n_patterns, which Django allows at the root only."""
    return type(child.pattern).__name__ == "LocalePrefixPattern"


def literal(child: Any) -> tuple[str, bool]:
    """What every path that this pattern matches begins with, and whether that is all."""
    pattern = child.pattern
    if hasattr(pattern, "_route"):
        text, whole = literal_of(str(pattern), "<")
        return text, whole and not hasattr(child, "url_patterns")
    if hasattr(pattern, "_regex"):
        return literal_of_regex(str(pattern))
    return "", False  # a language's prefix


def plain(route: str) -> str:
    """A regular expression without its anchors; other routes have none."""
    if route.startswith("^"):
        route = route[1:]
    return route.removesuffix("$").removesuffix("\\Z")


def router(app: Any, resolver: Resolver) -> UrlConf:
    """The router of this process's Django: it has but one."""
    return UrlConf()


def watch(note: Note) -> None:
    """The signal is sent while the exception is being handled, with the request it belongs to."""
    signals: Any = sys.modules["django.core.signals"]

    def unhandled(sender: Any, request: Any = None, **_: Any) -> None:
        raised = sys.exc_info()[1]
        if raised is not None:
            carrier = getattr(request, "scope", None) or getattr(request, "environ", None)
            note(carrier, raised)  # type: ignore[arg-type]

    signals.got_request_exception.connect(unhandled, weak=False, dispatch_uid="server_tracing")
