"""The X-Ray SDK's task factory, as event loops of today call it.

`AsyncContext` sets one on the loop, which takes neither `context` nor `name`: from Python 3.11 on
`create_task(context=...)` raises, from 3.14 on every `create_task`. What it does for the SDK's own context,
which still counts outside of requests, is done here too.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aws_xray_sdk.core import async_context


def mend() -> None:
    """For contexts that are made from now on."""
    async_context.task_factory = task_factory


def task_factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """A task that has a copy of the SDK's entities of the task that makes it."""
    task: Any = asyncio.Task(coroutine, loop=loop, **options)
    kept = getattr(asyncio.current_task(loop=loop), "context", None)
    if kept is not None:
        task.context = {**kept, "entities": list(kept["entities"])} if kept.get("entities") else kept
    return task  # type: ignore[no-any-return]
