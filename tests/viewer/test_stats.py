"""Counts per route."""

from __future__ import annotations

import json

from believable import NOON, after, failed, killed, request, requests
from screens import rows, screen, text

from server_tracing.store import Store
from server_tracing.viewer.stats import show


def counted(tmp_path, told):
    store = Store(str(tmp_path / "store.sqlite"), clock=NOON.timestamp)
    store.append(told, "journal", 1)
    found = store.stats()
    store.close()
    return found


def shown(found, *, width=100, limit=40, as_json=False):
    target = screen(width)
    show(target, found, since=NOON, now=after(100), limit=limit, as_json=as_json)
    return target


def test_a_line_per_route_and_their_sum(tmp_path):
    """The busiest first."""
    found = counted(tmp_path, [*requests(197, start=NOON), failed(1), failed(2), killed(3)])
    header, products, cart, report, total, about = rows(shown(found))
    assert header.split() == ["COUNT", "RATE", "ERRORS", "P50", "P95", "P99", "ROUTE"]
    assert products.split() == ["197", "1.97/s", "-", *["12.1", "ms"] * 3, "GET", "/products/<int:id>"]
    assert cart.split()[:4] == ["2", "0.02/s", "100", "%"]
    assert report.split() == ["1", "0.01/s", "100", "%", "-", "-", "-", "GET", "/report", "1", "killed"]
    assert total.split()[:4] == ["200", "2.00/s", "1.5", "%"]
    assert about.startswith("since 2026-")


def test_services_have_a_column_where_there_are_several(tmp_path):
    """And only there."""
    assert "SERVICE" not in text(shown(counted(tmp_path, requests(2))))
    assert "SERVICE" in text(shown(counted(tmp_path / "two", [request(1), request(2, service="stock")])))


def test_what_is_left_out_is_said_and_counted(tmp_path):
    """The sum is of all."""
    found = counted(tmp_path, [request(n, route=f"/{n}") for n in range(5)])
    lines = rows(shown(found, limit=2))
    assert len(lines) == 5
    assert lines[3].split()[0] == "5"
    assert lines[4].endswith("3 more routes")


def test_json_has_counts_and_milliseconds(tmp_path):
    """Per route, percentiles absent where there are none."""
    found = counted(
        tmp_path, [*requests(9), failed(10, route="/products/<int:id>", method="GET"), killed(11)]
    )
    products, report = (json.loads(line) for line in rows(shown(found, as_json=True)))
    assert (products["count"], products["errors"], products["error_share"]) == (10, 1, 0.1)
    assert products["statuses"] == {"200": 9, "500": 1}
    assert products["outcomes"] == {"ok": 9, "error": 1}
    assert products["p99_ms"] == 12.1
    assert report["statuses"] == {"none": 1}
    assert "p50_ms" not in report


def test_routes_cannot_act_on_a_terminal(tmp_path):
    """They may come from clients."""
    output = text(shown(counted(tmp_path, [request(1, route="/\x1b[2J\u202e", method="G\x1bT")])))
    assert all(letter.isprintable() or letter == "\n" for letter in output)
