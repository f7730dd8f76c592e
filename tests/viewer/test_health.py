"""Does every request add up, and who is alive?"""

from __future__ import annotations

import json

from believable import NOON, after, event, exception, vitals
from screens import rows, screen, text

from server_tracing.journal.ledger import Checkpoint, Tally
from server_tracing.record import Origin
from server_tracing.store import Totals
from server_tracing.viewer.accounts import balance
from server_tracing.viewer.health import Health, Worker, show

TOTALS = Totals(
    3,
    {
        "local": {"seen": 100, "excluded": 5, "delivered": 94, "unsampled": 0, "spooled": 0},
        "xray": {"seen": 100, "excluded": 5, "delivered": 20, "unsampled": 70, "spooled": 3},
    },
    {"local": {"full": 1}, "xray": {"full": 1, "expired": 1}},
)


def worker(alive=True, ours=True, **counts):
    origin = Origin(
        id="j1", seed=b"", pid=4711, service="shop", destinations="d", state_dir="/", server="gunicorn 27"
    )
    return Worker(origin, Checkpoint(**counts), alive, ours, lost=0, booted=NOON)


def live():
    local = Tally(delivered=6, dropped={"full": 2}, queued=1)
    return worker(seen=12, excluded=1, in_flight=2, exporters={"local": local})


def shown(health, *, as_json=False, width=100):
    target = screen(width)
    sound = show(target, health, as_json=as_json, now=after(120))
    return sound, target


def test_finished_and_living_workers_add_up():
    """Each exporter by itself."""
    local, xray = balance(TOTALS, [live().checkpoint])
    assert (local.seen, local.excluded, local.in_flight, local.delivered, local.pending) == (
        112,
        6,
        2,
        100,
        1,
    )
    assert local.dropped == {"full": 3}
    assert (local.missing, xray.missing) == (0, 0)
    assert xray.pending == 3


def test_a_miscount_is_said_and_fails():
    """In both directions."""
    short, over = (
        worker(seen=5, exporters={"a": Tally(delivered=3)}),
        worker(seen=1, exporters={"b": Tally(delivered=3)}),
    )
    sound, target = shown(Health("/state", [short, over]))
    assert not sound
    assert rows(target)[8].split() == ["adds", "up", "2", "missing", "2", "too", "many"]


def test_what_goes_by_udp_is_said_to_be_handed_over():
    """And nothing more."""
    health = Health("/state", [live()], TOTALS, by_udp=("xray",))
    assert "xray: delivered is handed over, by UDP" in text(shown(health)[1])
    told = json.loads(text(shown(health, as_json=True)[1]))["exporters"]
    assert [one.get("by_udp", False) for one in told] == [False, True]
    assert "UDP" not in text(shown(Health("/state", [live()], TOTALS))[1])


def test_the_account_reads_as_an_addition():
    """A column per exporter; reasons below what was dropped."""
    sound, target = shown(Health("/state", [live()], TOTALS))
    assert sound
    lines = [line.split() for line in rows(target)[:11]]
    assert lines[0] == ["REQUESTS", "LOCAL", "XRAY"]
    assert lines[1] == ["seen", "112", "100"]
    assert ["dropped", "3", "2"] in lines
    assert ["expired", "0", "1"] in lines
    assert ["adds", "up", "yes", "yes"] in lines


def test_living_workers_are_shown_with_their_vitals():
    """One line each."""
    alive = live()
    alive.vitals = vitals(100)
    output = text(shown(Health("/state", [alive]))[1])
    (line,) = [line for line in output.splitlines() if " 4711 " in line]
    assert line.split()[:9] == ["4711", "2", "min", "2", "1,200", "62.0", "MiB", "14", "%"]


def test_dead_workers_journals_are_shown_with_what_to_do():
    """Those that the next worker takes, and those that nobody will."""
    output = text(shown(Health("/state", [worker(alive=False), worker(alive=False, ours=False)]))[1])
    assert "No worker is alive." in output
    assert (
        "1 journal of a dead worker waits for the next worker, or `server-tracing recover`: shop (pid 4711)"
        in output
    )
    assert "1 journal was left behind by other settings" in output


def test_what_happened_lately_is_shown():
    """Boots, failures to start, exits; harmless to a terminal."""
    told = [event(60, "lifespan", exception=exception()), event(1, detail="\x1b[2J")]
    output = text(shown(Health("/state", [], TOTALS, told))[1])
    assert "lifespan  OutOfStock: no teapots left" in output
    assert "boot  \\x1b[2J" in output


def test_a_store_that_cannot_be_read_is_said_and_fails():
    """The journals are shown all the same."""
    sound, target = shown(Health("/state", [live()], trouble="The store is damaged."))
    assert not sound
    assert "The store is damaged." in text(target)


def test_json_has_everything():
    """In one line."""
    alive = live()
    alive.vitals = vitals(100)
    told = json.loads(text(shown(Health("/state", [alive], TOTALS, [event(1)]), as_json=True)[1]))
    assert told["exporters"][0]["exporter"] == "local"
    assert told["exporters"][0]["dropped"] == {"full": 3}
    assert told["exporters"][0]["adds_up"] is True
    assert told["workers"][0]["pid"] == 4711
    assert told["workers"][0]["vitals"]["rss_bytes"] == 62 << 20
    assert told["events"][0]["what"] == "boot"
