"""The local store, through append and query."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
from itertools import islice

import pytest
from believable import NOON, after, event, failed, killed, request, requests, trace_id, vitals

from server_tracing.journal.ledger import Checkpoint, Tally
from server_tracing.store import FOLDED, VITALS_KEPT, Filter, Store, StoreError, View
from server_tracing.store.batch import MAX_STORED
from server_tracing.store.minutes import OTHER, PER_MINUTE

DAY = 86_400.0


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "state" / "store.sqlite")


@pytest.fixture
def store(path):
    """A store at noon of the day the records are from."""
    store = Store(path, clock=NOON.timestamp)
    yield store
    store.close()


def paths(found):
    return [one.path for one in found]


class TestAppending:
    def test_what_goes_in_comes_out_unchanged(self, store):
        """Every field, exceptions with causes included."""
        told = [failed(2), request(1, annotations={"cart": 3}, metadata={"shop": {"items": [1, 2]}})]
        store.append(told, "journal", 10)
        assert list(store.query()) == told

    def test_only_the_owner_can_read_it(self, store, path):
        """Requests carry what clients sent."""
        store.append([request()], "journal", 1)
        modes = {
            name: stat.S_IMODE(os.stat(os.path.join(os.path.dirname(path), name)).st_mode)
            for name in os.listdir(os.path.dirname(path))
        }
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
        assert set(modes.values()) == {0o600}
        assert "store.sqlite-wal" in modes

    def test_a_batch_is_stored_once(self, store):
        """A reader that died after storing and before saying so repeats itself."""
        store.append([request(1)], "journal", 100)
        store.append([request(1)], "journal", 100)
        store.append([request(1)], "journal", 60)
        assert len(list(store.query())) == 1
        assert sum(one.count for one in store.stats()) == 1
        assert store.acked("journal") == 100

    def test_sources_do_not_know_each_other(self, store):
        """Positions belong to one journal."""
        store.append([request(1)], "one", 100)
        store.append([request(2)], "two", 50)
        assert (store.acked("one"), store.acked("two"), store.acked("three")) == (100, 50, 0)
        assert len(list(store.query())) == 2

    def test_nothing_stored_is_still_remembered(self, store):
        """Positions move over what is not for the store."""
        store.append([], "journal", 7)
        assert store.acked("journal") == 7

    def test_a_record_that_cannot_be_stored_costs_only_itself(self, store):
        """It is counted by what append returns."""
        assert store.append([request(1), request(2, path="\ud800"), request(3)], "journal", 9) == 1
        assert paths(store.query()) == ["/products/3", "/products/1"]

    def test_four_processes_lose_nothing(self, path):
        """Each appends as its own worker, all at once."""
        context = multiprocessing.get_context("spawn")
        gate = context.Barrier(4)
        workers = [context.Process(target=append_many, args=(path, number, gate)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0] * 4
        view = View.open(path)
        assert len({one.span_id for one in view.query()}) == 4 * 30 * 20
        assert sum(one.count for one in view.stats()) == 4 * 30 * 20
        assert [view.acked(f"worker {number}") for number in range(4)] == [30] * 4
        view.close()

    def test_it_says_what_it_is(self, store, path):
        """For whoever meets it in a debugger."""
        assert repr(store) == f"<Store {path} · at most 256 MiB and 24 h>"


def append_many(path, number, gate):
    store = Store(path, clock=NOON.timestamp)
    gate.wait()
    for turn in range(30):
        store.append(requests(20, first=number * 10_000 + turn * 20), f"worker {number}", turn + 1)
    store.close()


class TestQuerying:
    def test_newest_come_first_across_batches_that_overlap(self, store):
        """Workers store at their own pace, and long requests end late."""
        store.append([request(5), request(1), request(9)], "one", 1)
        store.append([request(7), request(2)], "two", 1)
        store.append([request(3), request(8)], "one", 2)
        assert paths(store.query()) == [f"/products/{number}" for number in (9, 8, 7, 5, 3, 2, 1)]

    def test_reading_is_by_need(self, store):
        """Fifty of a million do not cost a million."""
        for turn in range(100):
            store.append(requests(10, first=turn * 10), "journal", turn + 1)
        read = []
        store._connection.set_trace_callback(read.append)
        assert len(list(islice(store.query(), 10))) == 10
        assert sum("SELECT records" in sql for sql in read) <= 2

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (Filter(statuses=(range(500, 600),)), {2}),
            (Filter(statuses=(range(200, 201), range(404, 405))), {1, 4, 5}),
            (Filter(statuses=(range(1),)), {3}),
            (Filter(outcomes=frozenset({"killed"})), {3}),
            (Filter(outcomes=frozenset({"killed", "error"})), {2, 3}),
            (Filter(route="/cart"), {2}),
            (Filter(route="/products/<int:id>"), {1, 5}),
            (Filter(route="/pro*"), {1, 5}),
            (Filter(path="/pro"), {1, 5}),
            (Filter(path="/*/5"), {5}),
            (Filter(path="/static/[x]"), {4}),
            (Filter(service="backoffice"), {5}),
            (Filter(slower_ms=1000.0), {3}),
            (Filter(since=after(4)), {4, 5}),
            (Filter(trace=trace_id(after(2), 2)), {2}),
            (Filter(trace=trace_id(after(2), 2)[:14]), {2}),
            (Filter(trace=trace_id(after(2), 2)[:8]), {2}),
            (Filter(trace="f" * 32), set()),
            (Filter(), {1, 2, 3, 4, 5}),
        ],
    )
    @pytest.mark.parametrize("together", [True, False], ids=["one batch", "a batch each"])
    def test_filters_find_what_they_say(self, store, wanted, found, together):
        """However the records were batched."""
        told = [
            request(1),
            failed(2),
            killed(3),
            request(4, path="/static/[x]", route=None, status=404),
            request(5, service="backoffice"),
        ]
        for number, some in enumerate([told] if together else [[one] for one in told]):
            store.append(some, "journal", number + 1)
        assert {int(one.span_id, 16) for one in store.query(wanted)} == found

    def test_a_trace_of_several_requests_is_found_whole(self, store):
        """One service calls another on the same host."""
        shared = "ab" * 16
        store.append([request(1, trace_id=shared), request(2)], "one", 1)
        store.append([request(3, trace_id=shared)], "two", 1)
        assert paths(store.query(Filter(trace="abab"))) == ["/products/3", "/products/1"]

    def test_following_tells_what_came_since(self, store):
        """Each arrival once."""
        store.append([request(1)], "journal", 1)
        mark = store.mark()
        store.append([request(2)], "journal", 2)
        found, mark = store.arrivals(mark)
        assert paths(found) == ["/products/2"]
        assert store.arrivals(mark) == ([], mark)

    def test_readers_see_what_writers_write_meanwhile(self, store, path):
        """A view stays open for as long as its user likes."""
        view = View.open(path)
        store.append([request(1)], "journal", 1)
        assert len(list(view.query())) == 1
        store.append([request(2)], "journal", 2)
        assert len(list(view.query())) == 2
        view.close()

    def test_a_reader_that_pauses_holds_nothing_back(self, store, path):
        """`requests | less` must not keep the write-ahead log from being reused."""
        for turn in range(80):
            store.append([request(turn)], "journal", turn + 1)
        view = View.open(path)
        next(paused := view.query())
        busy, _, _ = store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        assert len(list(paused)) == 79
        view.close()

    def test_a_reader_cannot_write(self, store, path):
        """The viewer is no danger to what it looks at."""
        view = View.open(path)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            view._connection.execute("DELETE FROM batches")
        view.close()

    def test_a_batch_gone_bad_is_skipped(self, store):
        """One rotten blob does not hide the others."""
        store.append([request(1)], "journal", 1)
        store.append([request(2)], "journal", 2)
        store._connection.execute("UPDATE batches SET records = zeroblob(40) WHERE id = 1")
        assert paths(store.query()) == ["/products/2"]


class TestCounting:
    def test_counts_are_exact_and_latencies_close(self, store):
        """Whatever was sampled."""
        told = [*requests(99, start=NOON, duration_ms=10.0), request(100, start=NOON, duration_ms=4000.0)]
        store.append(told[:50], "one", 1)
        store.append(told[50:], "two", 1)
        (counted,) = store.stats()
        assert (counted.service, counted.method, counted.route) == ("shop", "GET", "/products/<int:id>")
        assert (counted.count, counted.statuses, counted.outcomes) == (100, {200: 100}, {"ok": 100})
        assert counted.latencies.percentile(0.5) == pytest.approx(10, rel=0.05)
        assert counted.latencies.percentile(1) == pytest.approx(4000, rel=0.05)

    @pytest.mark.parametrize(
        "fields",
        [
            {"scheme": "ws", "status": 101},
            {"scheme": "wss", "status": 101},
            {"event_stream": True},
            {"outcome": "killed", "status": None},
        ],
    )
    def test_what_lasts_as_long_as_it_likes_has_no_latency_but_counts(self, store, fields):
        """A WebSocket of an hour is not a slow request."""
        store.append([request(1), request(2, duration_ms=3_600_000.0, **fields)], "journal", 1)
        (counted,) = store.stats()
        assert counted.count == 2
        assert counted.latencies.total == 1

    def test_every_request_is_counted_under_some_route(self, store):
        """Also those that were refused before they had one."""
        store.append(
            [request(1, path=None, route=None, method=None, status=400, outcome="rejected")], "journal", 1
        )
        (counted,) = store.stats()
        assert (counted.route, counted.method, counted.statuses) == ("(unknown)", "", {400: 1})

    def test_a_minute_has_room_for_so_many_routes(self, store):
        """Routes can come from clients; the counts stay exact."""
        count = PER_MINUTE + 30
        told = [
            request(number, start=NOON, route=f"/{number}", method=f"M{number}") for number in range(count)
        ]
        store.append(told, "journal", 1)
        found = {one.route: one.count for one in store.stats()}
        assert len(found) == PER_MINUTE + 1
        assert found[OTHER] == 30
        assert sum(found.values()) == count

    def test_stats_can_be_narrowed(self, store):
        """By time, service and route."""
        store.append([request(1), failed(2), request(3, service="other"), request(3600)], "journal", 1)
        assert sum(one.count for one in store.stats(Filter(since=after(3000)))) == 1
        assert [one.route for one in store.stats(Filter(route="/c*"))] == ["/cart"]
        assert [one.service for one in store.stats(Filter(service="other"))] == ["other"]
        assert store.counted_since() == NOON

    def test_nothing_was_counted_before_the_first_worker(self, store):
        """A rate over the whole of its first minute would be too low; later workers change nothing."""
        store.append([event(50), request(52), request(100), event(110)], "journal", 1)
        assert store.counted_since() == after(50)


class TestWorkers:
    def test_events_are_kept_newest_first(self, store):
        """Boots, lifespan failures, exits."""
        store.append([event(1), event(2, "exit", detail="code 3")], "journal", 1)
        assert [one.what for one in store.events()] == ["exit", "boot"]
        assert [one.what for one in store.events(since=after(2))] == ["exit"]

    def test_vitals_have_a_short_history_per_worker(self, store):
        """The last ones, oldest first."""
        for turn in range(VITALS_KEPT + 20):
            store.append([vitals(turn * 15, served=turn)], "one", turn + 1)
        store.append([vitals(0, served=7)], "two", 1)
        found = store.vitals()
        assert [one.served for one in found["one"]] == list(range(20, VITALS_KEPT + 20))
        assert [one.served for one in found["two"]] == [7]

    def test_a_finished_worker_is_counted_once(self, store):
        """Whoever adopted its journal may die before it is unlinked."""
        tally = Tally(acked=90, delivered=6, unsampled=2, dropped={"full": 1})
        counts = Checkpoint(seen=10, excluded=1, exporters={"local": tally})
        store.fold("journal", counts)
        store.fold("journal", counts)
        totals = store.totals()
        assert totals.workers == 1
        assert totals.exporters["local"] == {
            "seen": 10,
            "excluded": 1,
            "delivered": 6,
            "unsampled": 2,
            "spooled": 0,
        }
        assert totals.dropped == {"local": {"full": 1}}

    def test_totals_add_up_over_workers_and_spools(self, store):
        """What a spool delivers later moves from spooled to delivered."""
        store.fold("one", Checkpoint(seen=5, exporters={"xray": Tally(delivered=2, spooled=3)}))
        store.fold("two", Checkpoint(seen=4, exporters={"xray": Tally(delivered=4)}))
        store.settle("xray", {"spooled": -3, "delivered": 2, "dropped": {"expired": 1}})
        totals = store.totals()
        assert totals.workers == 2
        assert totals.exporters["xray"] == {
            "seen": 9,
            "excluded": 0,
            "delivered": 8,
            "unsampled": 0,
            "spooled": 0,
        }
        assert totals.dropped["xray"] == {"expired": 1}

    def test_a_finished_worker_stores_nothing_more(self, store):
        """Its records are there; a second adopter would store them twice."""
        store.append([request(1)], "journal", 5)
        store.fold("journal", Checkpoint())
        store.append([request(1)], "journal", 6)
        assert store.acked("journal") == FOLDED
        assert len(list(store.query())) == 1


class TestBounds:
    def test_it_stays_within_its_size(self, path):
        """Newest records stay; the pages of the oldest are used again."""
        limit = 512 << 10
        store = Store(path, max_size=limit, clock=after(20_000).timestamp)
        for turn in range(400):
            store.append(requests(40, first=turn * 40, user_agent=os.urandom(40).hex()), "journal", turn + 1)
        assert store.size() <= limit + (64 << 10)
        assert os.path.getsize(path) <= limit + (256 << 10)
        kept = list(store.query())
        assert kept[0].span_id == f"{400 * 40 - 1:016x}"
        assert 100 < len(kept) < 16_000
        store.close()

    def test_many_small_batches_are_bounded_too(self, path):
        """A quiet service stores one request at a time."""
        store = Store(path, max_size=256 << 10, clock=after(4000).timestamp)
        for turn in range(2500):
            store.append([request(turn)], "journal", turn + 1)
        assert store.size() <= 272 << 10
        assert next(store.query()).span_id == f"{2499:016x}"
        store.close()

    def test_a_smaller_limit_is_reached_step_by_step(self, path):
        """A restart with another `max_size` does not stop the world."""
        store = Store(path, clock=after(4000).timestamp)
        for turn in range(600):
            store.append(requests(5, first=turn * 5), "journal", turn + 1)
        before = store.size()
        store.close()
        store = Store(path, max_size=before // 3, clock=after(4000).timestamp)
        sizes = []
        for turn in range(300):
            store.append(requests(5, first=3000 + turn * 5), "later", turn + 1)
            sizes.append(store.size())
        assert sizes[0] > before // 2
        assert sizes[-1] <= before // 3 + (32 << 10)
        store.close()

    def test_what_is_too_old_goes(self, path):
        """Records, counts, events and vitals, by the clock it was given."""
        now = [NOON.timestamp()]
        store = Store(path, retention=DAY, clock=lambda: now[0])
        store.append([request(1), event(1), vitals(1)], "old", 1)
        now[0] += DAY + 120
        store.append([request(86_500), event(86_500), vitals(86_500)], "new", 1)
        assert paths(store.query()) == ["/products/86500"]
        assert sum(one.count for one in store.stats()) == 1
        assert len(store.events()) == 1
        assert list(store.vitals()) == ["new"]
        store.close()

    def test_counts_outlive_records_that_went_for_size(self, path):
        """They are small, and `stats` is asked about longer times."""
        store = Store(path, max_size=512 << 10, clock=after(16_000).timestamp)
        for turn in range(400):
            store.append(requests(40, first=turn * 40, user_agent=os.urandom(40).hex()), "journal", turn + 1)
        assert sum(one.count for one in store.stats()) > 1.5 * len(list(store.query()))
        store.close()


class TestSizes:
    def test_what_would_be_too_large_for_one_batch_takes_several(self, store):
        """Whatever is stored can be read again."""
        large = {"said": {"all": ["x" * 4000] * 700}}  # 2.8 MB
        store.append([request(number, metadata=large) for number in range(1, 12)], "journal", 1)
        assert len(paths(store.query())) == 11

    def test_what_could_not_be_read_again_is_not_stored(self, store):
        """It is counted as what cannot be stored, and costs the others nothing."""
        larger = request(2, metadata={"said": {"all": ["x" * 4000] * 4200}})
        assert store.append([request(1), larger, request(3)], "journal", 1) == 1
        assert paths(store.query()) == ["/products/3", "/products/1"]


class TestTrouble:
    @pytest.mark.parametrize("content", [b"not a database at all" * 100, b"\0" * 8192], ids=["text", "zeros"])
    def test_what_is_no_store_is_set_aside(self, path, content, caplog):
        """One line in the log, nothing deleted, and recording goes on."""
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as file:
            file.write(content)
        store = Store(path, clock=NOON.timestamp)
        store.append([request(1)], "journal", 1)
        assert len(list(store.query())) == 1
        (aside,) = [name for name in os.listdir(os.path.dirname(path)) if "unusable" in name]
        with open(os.path.join(os.path.dirname(path), aside), "rb") as file:
            assert file.read() == content
        assert len(caplog.records) == 1
        store.close()

    def test_another_programs_database_is_set_aside(self, path):
        """Its tables are still there afterwards."""
        os.makedirs(os.path.dirname(path))
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE theirs (x)")
        other.commit()
        other.close()
        Store(path).close()
        (aside,) = [name for name in os.listdir(os.path.dirname(path)) if "unusable" in name]
        other = sqlite3.connect(os.path.join(os.path.dirname(path), aside))
        assert other.execute("SELECT name FROM sqlite_master").fetchone() == ("theirs",)
        other.close()

    def test_another_layout_is_set_aside_by_a_writer_and_named_by_a_reader(self, path):
        """An upgrade of the layout costs the history, not the recording."""
        store = Store(path)
        store._connection.execute("PRAGMA user_version = 99")
        store.close()
        with pytest.raises(StoreError, match=r"has layout 99, and this release reads layout 1\.$"):
            View.open(path)
        Store(path).close()
        View.open(path).close()

    def test_views_in_the_place_of_tables_are_no_store(self, path):
        """They could go on for ever: a reader says so, a writer begins a new one."""
        Store(path).close()
        forged = sqlite3.connect(path)
        forged.execute("DROP TABLE totals")
        endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
        columns = "'local' exporter, 'seen' counter, '' reason, x value"
        forged.execute(f"CREATE VIEW totals AS SELECT {columns} FROM ({endless})")
        forged.close()
        with pytest.raises(StoreError, match=r"is not laid out as ours"):
            View.open(path)
        Store(path).close()
        view = View.open(path)
        assert view.totals().exporters == {}
        view.close()

    @pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
    def test_nobody_waits_at_a_pipe(self, path, suffix):
        """Neither a reader nor a writer, wherever SQLite would open one; what was stored is still there."""
        store = Store(path, clock=NOON.timestamp)
        store.append([request(1)], "journal", 1)
        store.close()
        if not suffix:
            os.rename(path, path + ".kept")
        os.mkfifo(path + suffix)
        with pytest.raises(StoreError, match=r"is not a plain file"):
            View.open(path)
        store = Store(path, clock=NOON.timestamp)
        assert paths(store.query()) == (["/products/1"] if suffix else [])
        store.close()

    def test_a_blob_larger_than_any_of_ours_is_skipped(self, store, caplog):
        """It costs its reader no memory."""
        store.append([request(1)], "journal", 1)
        for table, column in (("batches", "records"), ("minutes", "counts"), ("vitals", "record")):
            store._connection.execute(f"UPDATE {table} SET {column} = zeroblob({MAX_STORED + 1})")
        assert (list(store.query()), store.stats()) == ([], [])
        assert "cannot be read and is skipped" in caplog.text

    def test_a_file_damaged_while_open_is_replaced(self, store, path):
        """The batch in hand is stored in the new one."""
        store.append([request(1)], "journal", 1)
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(path, "r+b") as file:
            file.write(os.urandom(os.path.getsize(path)))
        store._move_to(sqlite3.connect(path, isolation_level=None))  # one without a cache
        store.append([request(2)], "journal", 2)
        assert paths(store.query()) == ["/products/2"]

    def test_a_deleted_file_is_made_again(self, store, path):
        """Somebody tidied up below a running server."""
        store.append([request(1)], "journal", 1)
        for suffix in ("", "-wal", "-shm"):
            os.unlink(path + suffix)
        store.append([request(2)], "journal", 2)
        view = View.open(path)
        assert paths(view.query()) == ["/products/2"]
        view.close()

    def test_a_full_disk_is_an_error_with_a_reason(self, store):
        """Nothing is stored halfway, and there is room again once there is room again."""
        store.append([request(1)], "journal", 1)
        store._connection.execute("PRAGMA max_page_count = 1")
        big = request(2, user_agent=os.urandom(60_000).hex())
        with pytest.raises(StoreError, match=r"cannot be used: database or disk is full\.$") as caught:
            store.append([big], "journal", 2)
        assert caught.value.reason == "disk_full"
        assert store.acked("journal") == 1
        store._connection.execute("PRAGMA max_page_count = 1000000")
        store.append([big], "journal", 2)
        assert len(list(store.query())) == 2

    def test_a_store_that_may_not_be_written_is_an_error_with_a_reason(self, store):
        """As on a file system that was remounted read-only."""
        store._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(StoreError) as caught:
            store.append([request(1)], "journal", 1)
        assert caught.value.reason == "read_only"

    def test_waiting_for_another_writer_has_an_end(self, store, path):
        """Somebody else's lock costs the batch a retry, not the worker its thread."""
        store._connection.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            store.append([request(1)], "journal", 1)
        assert caught.value.reason == "busy"
        other.execute("ROLLBACK")
        store.append([request(1)], "journal", 1)
        other.close()

    @pytest.mark.parametrize(
        "make", [os.mkdir, lambda path: os.symlink("/etc/passwd", path)], ids=["directory", "link"]
    )
    def test_what_is_no_file_is_set_aside(self, path, make):
        """A link is never followed."""
        os.makedirs(os.path.dirname(path))
        make(path)
        Store(path).close()
        assert os.path.isfile(path)
        assert not os.path.islink(path)

    def test_a_directory_that_cannot_be_made_is_an_error_with_a_reason(self, tmp_path):
        """The state directory's place is taken by a file."""
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError) as caught:
            Store(str(tmp_path / "file" / "store.sqlite"))
        assert caught.value.reason == "unreachable"

    def test_a_reader_says_that_there_is_nothing(self, path):
        """And makes nothing."""
        with pytest.raises(StoreError, match="nothing has been recorded there"):
            View.open(path)
        assert not os.path.exists(path)

    def test_a_reader_says_that_a_file_is_damaged(self, path):
        """And leaves it where it is."""
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as file:
            file.write(b"garbage" * 1000)
        with pytest.raises(StoreError, match=r"cannot be used: file is not a database\.$"):
            View.open(path)
        assert os.path.exists(path)
