"""Where a process runs, as plugins find out: what stands under `aws` in its segments, and their origin.

They are asked in the exporter's thread, before the first segment, and each for a bounded time. The SDK's are
not used: its ECS plugin takes any machine for a container and asks nobody, its EC2 plugin names a field as
X-Ray does not, there is none for EKS, and of several the last in the list decides the origin.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from .limits import texts_cut

TRIES, AGAIN_AFTER = 3, 20.0  # seconds: a metadata service may start later than what it tells about
log = logging.getLogger("server_tracing.export")


class Surroundings(NamedTuple):
    """What is known of the machine or container."""

    aws: Mapping[str, Any] = {}
    origin: str | None = None

    def __repr__(self) -> str:
        return f"<Surroundings {self.origin or 'unknown'}>"


NOWHERE = Surroundings()


class NotHereError(Exception):
    """This is no place that a plugin knows; `str()` says by what it can be told."""


class Plugin(NamedTuple):
    """One way to find out where this runs."""

    origin: str
    look: Callable[[], Mapping[str, Any]]  # the blocks of `aws` it has found; raises where there are none


class Explorer:
    """Asks the plugins of these names, and those again that could not answer yet. `plugins` has all there
    are, the most specific place first: of those that are found it is the origin, however they are named."""

    def __init__(
        self,
        names: Collection[str],
        plugins: Callable[[], Mapping[str, Plugin]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = set(names)
        self._plugins = plugins
        self._clock = clock
        self._tries = TRIES
        self._next = 0.0
        self._answers: dict[str, Mapping[str, Any]] = {}

    def look(self) -> Surroundings | None:
        """Ask whoever is to be asked now; what is known, if that is more than before."""
        if not self._left or self._clock() < self._next:
            return None
        known = len(self._answers)
        self._next = self._clock() + AGAIN_AFTER
        self._tries -= 1
        for name, plugin in self._plugins().items():
            if name in self._left:
                self._ask(name, plugin)
        return self._found() if len(self._answers) > known else None

    def _ask(self, name: str, plugin: Plugin) -> None:
        try:
            self._answers[name] = plugin.look()
        except NotHereError as error:
            log.warning("the X-Ray plugin %s found nothing: %s", name, error)
        except Exception as error:  # noqa: BLE001 - whatever answers there
            if self._tries:
                return
            log.warning("the X-Ray plugin %s found nothing: %s: %s", name, type(error).__name__, error)
        self._left.discard(name)

    def _found(self) -> Surroundings:
        aws: dict[str, Any] = {}
        here = [(name, plugin) for name, plugin in self._plugins().items() if name in self._answers]
        for name, _plugin in here:
            for block, told in self._answers[name].items():
                aws.setdefault(block, texts_cut(told) if isinstance(told, Mapping) else told)
        return Surroundings(aws, here[0][1].origin)

    def __repr__(self) -> str:
        return f"<Explorer of {', '.join(sorted(self._left)) or 'nothing more'}>"
