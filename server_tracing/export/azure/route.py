"""The address telemetry is posted to: the configured one, or one the service has named instead.

A redirect is followed from https to https only, and remembered until the new address fails; then the
configured one is asked again.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

TRACK = "/v2.1/track"
MOST_HOPS = 10


class RedirectError(Exception):
    """A redirect that is not followed; the text is a sentence."""


class Route:
    """Where to post."""

    def __init__(self, endpoint: str) -> None:
        base = urlsplit(endpoint)
        path = base.path.rstrip("/") + TRACK
        self._configured = self.url = base._replace(path=path, fragment="").geturl()

    @property
    def redirected(self) -> bool:
        """Has the service named another address?"""
        return self.url != self._configured

    def follow(self, location: str) -> None:
        """Post to the address of a redirect from now on."""
        target = self._target(location)
        if not self.url.startswith("https:") or target.scheme != "https" or target.username is not None:
            raise RedirectError(
                f"{self.url} redirects to {target.scheme}://{target.hostname}, "
                "which is not followed: telemetry goes on from https to https only"
            )
        path = TRACK if target.path in ("", "/") else target.path
        self.url = target._replace(path=path, fragment="").geturl()

    def _target(self, location: str) -> SplitResult:
        try:
            target = urlsplit(urljoin(self.url, location))
            if location and target.hostname and target.port != 0:  # .port raises ValueError
                return target
        except ValueError:
            pass
        raise RedirectError(f"{self.url} redirects to nowhere")

    def reset(self) -> None:
        """Back to the configured address."""
        self.url = self._configured

    def __repr__(self) -> str:
        return f"<Route to {self.url}{' (redirected)' if self.redirected else ''}>"
