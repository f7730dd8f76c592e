"""The exporter as a whole: what goes to the daemon, what does not, and what happens while nobody is there."""

from __future__ import annotations

import socket

import pytest
from believable import event, request, requests, vitals
from central_kit import central, rule
from export_kit import Worker, assert_balanced
from standin_daemon import Daemon

from server_tracing.config import Config, XRay
from server_tracing.export.announcer import AFTER, Announcer
from server_tracing.export.exporter import ExportError, Setup, traits
from server_tracing.export.pace import Pace
from server_tracing.export.registry import create
from server_tracing.export.shape import Shaper
from server_tracing.export.xray.exporter import XRayExporter
from server_tracing.export.xray.surroundings import Plugin
from server_tracing.record import Outcome, Running
from server_tracing.sampling import Sampler


def exporter(address: str, **given: object) -> XRayExporter:
    return XRayExporter(Setup(Config(xray=XRay(daemon_address=address, **given)), {}, "shop", ""))


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def test_only_requests_are_segments():
    """Vitals and events have no place in X-Ray."""
    with Daemon() as daemon:
        one = exporter(daemon.address, version="3")
        one.export([vitals(), request(1), event(), Running(request(2, outcome="running", status=None))])
        one.close()
        first, second = daemon.settled()
    assert first["service"]["version"] == "3"
    assert second["in_progress"]


def test_what_cannot_be_encoded_costs_what_can_be_left_out_of_it():
    """And, if it must, itself: counted, while its neighbours are delivered."""
    with Daemon() as daemon:
        one = exporter(daemon.address)
        one.export([request(1, annotations={"a": "\udcff"}), request(2)])
        with pytest.raises(ExportError) as caught:
            one.export([request(3), request(4, path="/\udcff"), request(5)])
        one.close()
        names = [document["id"][-1] for document in daemon.settled()]
    assert names == ["1", "2", "3", "5"]
    assert (list(caught.value.remaining), caught.value.refused) == ([], {"unencodable": 1})


def test_while_there_is_no_daemon_everything_waits_on_disk(nobody, tmp_path):
    """And is delivered when there is one: the SDK would have lost it without a word."""
    one = exporter(nobody)
    worker = Worker(one, folder=tmp_path)
    worker.serve("/a")
    worker.serve("/b")
    worker.wake(0.5)
    worker.wake(5)
    (sink,) = worker.sinks
    tally = worker.checkpoint.exporters["xray"]
    assert (tally.delivered, tally.spooled, worker.journal.used) == (0, 2, 0)
    assert sink.trouble.startswith(f"nobody listens at {nobody} (UDP); start the X-Ray daemon there, or ")
    with Daemon(port=int(nobody.rpartition(":")[2])) as daemon:
        worker.wake(60)
        worker.wake()
        assert sorted(one["http"]["request"]["url"][-2:] for one in daemon.settled()) == ["/a", "/b"]
    assert worker.checkpoint.exporters["xray"].delivered == 2
    assert_balanced(worker.checkpoint)
    one.close()


def test_a_long_request_is_in_progress_and_then_whole(tmp_path):
    """Two documents under one id, the second with its end."""
    with Daemon() as daemon:
        one = exporter(daemon.address)
        worker = Worker(one, folder=tmp_path)
        announcer = Announcer(
            worker.source,
            Shaper(worker.config, worker.journal.origin),
            Sampler(worker.config.sampling, worker.clock),
            Pace(sleep=lambda seconds: None),
            clock=worker.clock.ns,
        )
        slot = worker.begin("/long")
        worker.clock.advance(2 * AFTER)
        worker.reader.wake()
        announcer(1.0)
        worker.wake()
        worker.recorder.end(slot, Outcome.OK, 200)
        worker.wake()
        running, ended = daemon.settled()
        one.close()
    assert running["in_progress"]
    assert running["id"] == ended["id"]
    assert ended["end_time"] - ended["start_time"] >= 2 * AFTER
    assert_balanced(worker.checkpoint)


def test_a_thousand_segments_in_one_go_arrive(tmp_path):
    """Into a receive buffer of the default size."""
    with Daemon() as daemon:
        one = exporter(daemon.address)
        one.export(requests(1000))
        one.close()
        assert len(daemon.settled()) == 1000


def test_it_may_block_is_told_of_what_takes_long_and_has_a_spool():
    """Its traits; made by its name, without a library of its own."""
    made = create("xray", Setup(Config(), {}, "shop", ""))
    assert isinstance(made, XRayExporter)
    wanted = traits(made)
    assert (wanted.blocking, wanted.running, wanted.sampled_only) == (True, True, True)
    assert wanted.spool_size
    assert repr(made) == "<XRayExporter to the X-Ray daemon at 127.0.0.1:2000>"
    made.close()


def test_rules_for_other_places_are_left_out_once_plugins_have_told_where_this_is(monkeypatch):
    """The thread that asks them looks after the rules, too."""
    found = Plugin("AWS::EC2::Instance", lambda: {"ec2": {"instance_id": "i-1"}})
    monkeypatch.setattr("server_tracing.export.xray.plugins.PLUGINS", {"ec2": found})
    rules = central(rule("ecs", 1, ServiceType="AWS::ECS::*"), rule("Default", 10000))
    config = Config(exporters=("xray",), xray=XRay(daemon_address="127.0.0.1:1", plugins=("ec2",)))
    one = XRayExporter(Setup(config, {}, "shop", "", rules))
    before = rules.find(None, None, None).name
    one.tend()
    assert (before, rules.find(None, None, None).name) == ("ecs", "Default")
    one.close()
