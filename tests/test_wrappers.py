"""`server_tracing.asgi(app)`: when recording begins and ends in a process that serves more than once."""

from __future__ import annotations

import os
import subprocess
import sys

from server_tracing.store import Store

SERVED = """
import asyncio, os
import server_tracing

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})

async def received():
    return {"type": "http.request"}

async def sent(message):
    pass

class Served:
    '''An application from its start to its end, by hand.'''

    def __init__(self, app):
        self.app, self.steps, self.started = app, asyncio.Queue(), asyncio.Event()
        self.lifespan = asyncio.create_task(app({"type": "lifespan"}, self.steps.get, self.send))
        self.steps.put_nowait({"type": "lifespan.startup"})

    async def send(self, message):
        self.started.set()

    async def get(self, path):
        await self.started.wait()
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
                 "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http"}
        await self.app(scope, received, sent)

    async def end(self):
        self.steps.put_nowait({"type": "lifespan.shutdown"})
        await self.lifespan
"""

ONCE_MORE = """
async def main():
    app_recorded = server_tracing.asgi(app)
    for name in ("first", "second", "third"):
        served = Served(app_recorded)
        await served.get(f"/{name}")
        await served.end()
asyncio.run(main())
"""

BESIDE = """
async def main():
    one, other = Served(server_tracing.asgi(app)), Served(server_tracing.asgi(app))
    await one.get("/one")
    await other.get("/other")
    await one.end()
    await other.get("/other/later")
    await other.end()
asyncio.run(main())
os._exit(0)  # what was recorded is delivered by now
"""


def served(tmp_path, script):
    """The paths in the store, and how many workers were counted in it, after a process has ended."""
    environ = {**os.environ, "SERVER_TRACING_DIR": str(tmp_path / "state")}
    subprocess.run([sys.executable, "-c", SERVED + script], env=environ, cwd=tmp_path, check=True, timeout=60)
    store = Store(str(tmp_path / "state" / "store.sqlite"))
    paths = sorted(request.path for request in store.query())
    totals = store.totals()
    store.close()
    assert totals.exporters["local"]["seen"] == totals.exporters["local"]["delivered"] == len(paths)
    return paths, totals.workers


def test_an_application_that_is_served_once_more_is_recorded_again(tmp_path):
    """Every start after a shutdown has a recorder of its own: none writes to one that was stopped."""
    assert served(tmp_path, ONCE_MORE) == (["/first", "/second", "/third"], 3)


def test_recording_ends_with_the_last_application(tmp_path):
    """One that shuts down takes nothing from another that this process goes on serving."""
    assert served(tmp_path, BESIDE) == (["/one", "/other", "/other/later"], 1)
