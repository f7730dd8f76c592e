"""The standard metrics, of the process that serves: OpenCensus measured the master, and counted no request.

Each record of a worker's vitals stands for itself: gauges at its time, and counts over the window it closes
(record.py), so that nothing has to be remembered here and nothing is counted twice or not at all, whichever
worker delivers it. Counts are of all requests, sampled or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from server_tracing.record import Counts, WorkerVitals

from .schema import VERSION, DataPoint, MetricData

PRIVATE_BYTES = "\\Process(??APP_WIN32_PROC??)\\Private Bytes"
PROCESS_TIME = "\\Process(??APP_WIN32_PROC??)\\% Processor Time"
MACHINE_TIME = "\\Processor(_Total)\\% Processor Time"
AVAILABLE = "\\Memory\\Available Bytes"
REQUEST_RATE = "\\ASP.NET Applications(??APP_W3SVC_PROC??)\\Requests/Sec"
EXECUTION_TIME = "\\ASP.NET Applications(??APP_W3SVC_PROC??)\\Request Execution Time"
EXCEPTION_RATE = "\\.NET CLR Exceptions(??APP_CLR_PROC??)\\# of Exceps Thrown / sec"

AGGREGATION = 1  # of many numbers: `value` is their sum, so that count and mean are exact
PROCESSORS = os.cpu_count() or 1  # a process that keeps all of them busy is at 100 %


def metrics(vitals: WorkerVitals) -> Iterator[MetricData]:
    """The metrics of one worker at the end of a window; none of vitals that close no window."""
    counts, seconds = vitals.counts, vitals.window_ms / 1000
    if counts is None or seconds <= 0:
        return
    worker = {"worker": f"{vitals.worker_class} {vitals.worker_pid}".strip()}
    for point in (*_gauges(vitals), *_rates(counts, seconds)):
        yield MetricData(VERSION, [point], worker)


def _rates(counts: Counts, seconds: float) -> Iterator[DataPoint]:
    yield DataPoint(REQUEST_RATE, counts.requests / seconds)
    yield DataPoint(EXCEPTION_RATE, counts.exceptions / seconds)
    if counts.timed:
        yield DataPoint(EXECUTION_TIME, counts.busy_ms, AGGREGATION, counts.timed)


def _gauges(vitals: WorkerVitals) -> Iterator[DataPoint]:
    if vitals.rss_bytes is not None:
        yield DataPoint(PRIVATE_BYTES, vitals.rss_bytes)
    if vitals.cpu_percent is not None:
        yield DataPoint(PROCESS_TIME, vitals.cpu_percent / PROCESSORS)
    if vitals.machine_cpu_percent is not None:
        yield DataPoint(MACHINE_TIME, vitals.machine_cpu_percent)
    if vitals.available_bytes is not None:
        yield DataPoint(AVAILABLE, vitals.available_bytes)
