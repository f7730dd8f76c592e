"""Where a process runs, as plugins find out: what stands under `aws` in its segments, and their origin.

They are asked in the exporter's thread, before the first segment, and each for a bounded time. The SDK's are
not used: its ECS plugin takes any machine for a container and asks nobody, its EC2 plugin names a field as
X-Ray does not, there is none for EKS, and of several the last in the list decides the origin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .limits import texts_cut

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
    look: Callable[[], Mapping[str, Any]]  # the blocks of `aws` it has found; raises if this is no such place


def explore(names: Sequence[str], plugins: Mapping[str, Plugin]) -> Surroundings:
    """Ask the plugins of these names. The most specific place that was found is the origin: they stand in
    `plugins` in that order, whatever the order of `names`."""
    aws: dict[str, Any] = {}
    origin = None
    for name, plugin in plugins.items():
        if name not in names:
            continue
        try:
            blocks = plugin.look()
        except NotHereError as error:
            log.warning("the X-Ray plugin %s found nothing: %s", name, error)
            continue
        except Exception as error:  # noqa: BLE001 - whatever answers there
            log.warning("the X-Ray plugin %s found nothing: %s: %s", name, type(error).__name__, error)
            continue
        for block, told in blocks.items():
            aws.setdefault(block, texts_cut(told) if isinstance(told, Mapping) else told)
        origin = origin or plugin.origin
    return Surroundings(aws, origin)
