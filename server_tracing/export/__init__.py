"""Room 3: from the journal to the backends, in threads of our own. They may wait, retry and hold a bounded
amount; a request never waits for them.

    reader -> source: join, shape, decide -> lane -> sending/ -> local, console, jsonl, xray/, azure/
       |
       +-- at every wake: heirs/ (what the dead left), stuck/ (what takes too long), chores, vitals, ...

`start` begins it in a worker, after the fork; `recover` does the same for what dead workers left. Nothing
here assumes that the requests were served by this process: a journal is read the same way whosever it was.
Imports the root modules only, and a backend's library not before its exporter is asked for.
"""

from .pipeline import Pipeline, Process, start
from .recovery import Summary, recover
from .stuck.watchdog import too_long
from .stuck.whereabouts import Whereabouts

__all__ = ["Pipeline", "Process", "Summary", "Whereabouts", "recover", "start", "too_long"]
