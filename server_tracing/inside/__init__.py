"""Room 2, in the application's own code: the request in hand, spans, notes, and what to send on.

- Costs a request nothing until the application, a bridge, or `response_header` has a use for it.
- Whatever the application hands over, at whatever time and from whatever thread, no exception of ours
  reaches it, nothing of it enters another request's record, and every size has a bound.
- What is said is in the journal when the call returns: a worker that is killed in the next line has said it.
- Everyone who makes spans does it by `begin_span` and `end_span` in spans.py: this API and every bridge.
"""
