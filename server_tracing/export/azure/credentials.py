"""Microsoft Entra tokens, from whatever has `get_token`: a class of azure.identity by its name, or one's own.

A token is kept until shortly before it ends; one that the service does not accept is asked for anew. Finding
a credential may take long (DefaultAzureCredential asks half a dozen places): it happens when the first batch
is to be sent, in the sender's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from inspect import iscoroutine
from typing import Any

from server_tracing.units import printable

from .loading import load

EARLY = 300.0  # seconds before its end that a token is renewed
LONGEST_TOLD = 300


class NoTokenError(Exception):
    """There is no token to be had; the text is a sentence."""


class Tokens:
    """The tokens of one credential for one audience."""

    def __init__(self, credential: Any, audience: str, clock: Callable[[], float] = time.time) -> None:
        self._given = credential
        self._credential: Any = None
        self._scope = f"{audience}//.default"  # the service's audience ends with a slash
        self._clock = clock
        self._token = ""
        self._ends = 0.0

    def header(self) -> str:
        """The value of the Authorization header."""
        if not self._token or self._clock() >= self._ends - EARLY:
            try:
                self._renew()
            except NoTokenError:
                if not self._token or self._clock() >= self._ends:
                    raise
        return f"Bearer {self._token}"

    def forget(self) -> None:
        """The token was not accepted."""
        self._token = ""

    def _renew(self) -> None:
        try:
            self._credential = self._credential or made(self._given)
            token = self._credential.get_token(self._scope)
            if iscoroutine(token):
                token.close()
                raise NoTokenError(f"{_name(self._given)} is asynchronous: take the one that is not in .aio")
            self._token, self._ends = str(token.token), float(token.expires_on)
        except NoTokenError:
            raise
        except Exception as error:
            why = (str(error).strip().splitlines() or [""])[0]
            told = printable(f"{type(error).__name__}: {why}")[:LONGEST_TOLD]
            raise NoTokenError(f"there is no token from {_name(self._given)}: {told}") from error


def made(credential: Any) -> Any:
    """A credential by its name; a class is called, an object is taken as it is."""
    if not isinstance(credential, str):
        return credential
    try:
        found = load(credential if ":" in credential else f"azure.identity:{credential}")
    except (ImportError, AttributeError) as error:
        ours = (error.name or "").startswith("azure") and isinstance(error, ImportError)
        missing = ", for which server-tracing[azure] is needed" if ours else ""
        raise NoTokenError(f"there is no credential called {credential}{missing}: {error}") from error
    return found() if isinstance(found, type) or not hasattr(found, "get_token") else found


def _name(credential: Any) -> str:
    return credential if isinstance(credential, str) else type(credential).__name__
