"""The share of traces that a rate keeps: a function of the trace id, so that all services agree."""

from __future__ import annotations

LOW_64 = 0xFFFFFFFFFFFFFFFF


def in_ratio(trace_id: int, rate: float) -> bool:
    """OpenCensus' arithmetic; a rate of 0 is none at all."""
    return rate > 0.0 and trace_id & LOW_64 <= rate * LOW_64
