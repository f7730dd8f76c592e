"""Room 1, inside the request: microseconds count here.

No I/O but the journal, no lock held across anything that waits, no exception of ours to anybody.
What is written down is what the server had at hand: no ids in hex, no JSON, no decisions; where responses
are to say their trace (`response_header`), what they say is told by whoever set `Recorder.announce`.
Only `gunicorn*.py` knows gunicorn's objects and only `uvicorn*.py` uvicorn's; `asgi*.py` and `wsgi.py`
know the two standards. Nothing here imports another room, a backend, json, sockets or logging set-up.
"""
