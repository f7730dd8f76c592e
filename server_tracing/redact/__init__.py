"""What may leave: the query strings, headers and messages of requests, without the secrets in them.

Everything here is bounded, and gives some text for every input: what cannot be understood is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from server_tracing.config.accepted import NEVER_SENT
from server_tracing.redact.secret_names import SecretNames, decoded

HIDDEN = "***"
LONGEST_QUERY = 4096
LONGEST_MESSAGE = 4096
LONGEST_HEADER = 1024
MOST_PARAMETERS = 128  # of a query; what follows is left out

_SEPARATOR = re.compile(r"([&;])")
_IN_PATHS = re.compile(r"([;&/]|%3[Ff])")
_NESTED = re.compile(r"=|%(?:25)*3[Dd]")  # a value that holds names and values of its own
_INNER = re.compile(r"[?&;#]")

# Every pattern for messages starts at a word's edge, so that no message can make it slow.
_USERINFO = re.compile(r"(://)[^/\s@]{1,256}@")
_WEB_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?")  # RFC 7519
_CREDENTIALS = re.compile(
    r"\b((?i:bearer|basic|digest|negotiate))\s+(?=\S*[0-9=]|\S*[a-z][A-Z]|\S{20})\S{4,}"
)
_HEADER = re.compile(r"\b((?i:(?:proxy-)?authorization|(?:set-)?cookie)[\"']?\s?[:=]\s?[\"']?)[^\"'\r\n]+")
_NAMED = re.compile(r"(?<![\w.\-\[\]%])([\w.\-\[\]%]+)([\"']?\s{0,3}(?:=>?|:)\s{0,3})")
_VALUE = re.compile(r"\"[^\"]*\"?|'[^']*'?|[^\s&;,\"'(){}<>]+")
_IN_MESSAGES = ("accountkey", "sharedaccesskey*", "instrumentationkey", "aws_secret*")


class Rules(Protocol):
    """The settings this module obeys (`Config.capture`)."""

    @property
    def query(self) -> str:
        """keep, redact or drop."""

    @property
    def redact(self) -> tuple[str, ...]:
        """Globs over parameter names."""

    @property
    def headers(self) -> tuple[str, ...]:
        """The allow-list of request headers."""


class Redactor:
    """Applies the settings of [capture]; threads may share one, as it only ever remembers."""

    def __init__(self, rules: Rules) -> None:
        self._mode = rules.query
        self._secret = SecretNames(rules.redact)
        self._secret_in_messages = SecretNames((*rules.redact, *_IN_MESSAGES))
        self._headers = frozenset(name.lower() for name in rules.headers) - NEVER_SENT
        self.keeps_headers = bool(self._headers)

    def query(self, query: str) -> str | None:
        """The query string as it came, but for the hidden values; None for none at all."""
        if not query or self._mode == "drop":
            return None
        query = _safe(query, LONGEST_QUERY)
        return query if self._mode == "keep" or self._harmless(query) else self._redacted(query)

    def path(self, path: str) -> str:
        """The path as it came, but for the hidden values of parameters in it, as in `/cart;jsessionid=...` or
        after a question mark that was encoded."""
        if self._mode == "keep" or "=" not in path:
            return path
        address, *rest = _IN_PATHS.split(_safe(path, LONGEST_QUERY), 2 * MOST_PARAMETERS)
        return address + "".join(map(self._parameter, rest))

    def url(self, url: str) -> str:
        """An address somebody was called at: its query as one of ours, no credentials."""
        address, _, query = url.partition("?")
        address = _USERINFO.sub(rf"\1{HIDDEN}@", _safe(address, LONGEST_QUERY))
        kept = self.query(query)
        return address if kept is None else f"{address}?{kept}"

    def headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """The headers on the allow-list, repeated ones joined; never cookies or credentials."""
        kept: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            if key in self._headers:
                kept[key] = _safe(f"{kept[key]}, {value}" if key in kept else value, LONGEST_HEADER)
        return kept

    def message(self, text: str) -> str:
        """An exception's message, shortened, without what looks like a credential."""
        text = _safe(text, LONGEST_MESSAGE)
        text = _WEB_TOKEN.sub(HIDDEN, _USERINFO.sub(rf"\1{HIDDEN}@", text))
        text = _HEADER.sub(rf"\1{HIDDEN}", _CREDENTIALS.sub(rf"\1 {HIDDEN}", text))
        return self._without_secrets(text)

    def _harmless(self, query: str) -> bool:
        """Whether every name has been seen and found harmless: nearly every query, in nearly no time."""
        if ";" in query or "%3" in query or "%25" in query:
            return False
        known = self._secret.known
        for parameter in query.split("&"):
            name, _, value = parameter.partition("=")
            if known.get(name, True) or "=" in value:
                return False
        return True

    def _redacted(self, query: str) -> str:
        *parameters, rest = _SEPARATOR.split(query, MOST_PARAMETERS)
        rest = "…" if _SEPARATOR.search(rest) else self._parameter(rest)
        return "".join(map(self._parameter, parameters)) + rest

    def _parameter(self, parameter: str) -> str:
        name, _, value = parameter.partition("=")
        if value and (self._secret.include(name) or self._nested(value)):
            return f"{name}={HIDDEN}"
        return HIDDEN if not value and self._nested(name) else parameter

    def _nested(self, value: str) -> bool:
        """Whether a value, such as the address to return to, carries a secret of its own."""
        if not _NESTED.search(value):
            return False
        pairs = (pair.partition("=") for pair in _INNER.split(decoded(decoded(value))))
        return any(given and self._secret.include(name) for name, _, given in pairs)

    def _without_secrets(self, text: str) -> str:
        """Hides what is assigned to the name of a secret, also within what is assigned to another name."""
        parts, done, at = [], 0, 0
        while found := _NAMED.search(text, at):
            (name, sign), at = found.groups(), found.end()
            value = _VALUE.match(text, at)
            if value and self._secret_in_messages.include(name) and not _prose(sign, value[0]):
                quote = value[0][0] if value[0][0] in "\"'" else ""
                parts.append(f"{text[done:at]}{quote}{HIDDEN}{quote}")
                done = at = value.end()
        return "".join((*parts, text[done:]))

    def __repr__(self) -> str:
        return f"<Redactor {self._mode} · {self._secret.size} names · {len(self._headers)} headers>"


def _prose(sign: str, value: str) -> bool:
    """Whether what follows a name is no secret: `auth: failed`, `code=404`, `token: ''`."""
    bare = value.strip("\"'")
    small = bare.isdigit() and len(bare) <= 3
    told = sign.lstrip() == ": " and bare.isalpha()
    return not bare or small or told


def _safe(text: str, longest: int) -> str:
    """Text of bounded length that every encoder takes: lone surrogates (bytes, no text) are spelt out."""
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
