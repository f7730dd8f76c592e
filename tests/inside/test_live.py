"""What an application says of its request stands in its record, and what it is told is what is recorded."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from inside_kit import Lab, counted

from server_tracing import current, headers
from server_tracing.config import Config
from server_tracing.config.settings import Sampling
from server_tracing.inside.live import MAX_METADATA, MAX_NOTES

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TELLING = [
    ("TRACEPARENT", f"00-{TRACE}-{SPAN}-01"),
    ("TRACESTATE", "a=1"),
    ("X-AMZN-TRACE-ID", f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0"),
    ("B3", f"{TRACE[::-1]}-{SPAN}-1"),
    ("X-AMZN-TRACE-ID", "Sampled=1"),
    ("TRACEPARENT", "nonsense"),
]


class TestIdentity:
    """Told while the request runs, recorded when it has ended: the same."""

    @pytest.mark.parametrize("trust", ["always", "proxies", "never"])
    def test_ids_are_those_of_the_record(self, trust):
        """For every combination of what a caller may say, believed or not."""
        some = itertools.chain.from_iterable(itertools.combinations(TELLING, n) for n in range(4))
        lab = Lab(Config(trust_context=trust))
        seen = []
        for told in some:
            for peer in ("127.0.0.1", "192.0.2.7"):
                with lab.request(*told, client=peer):
                    seen.append((current().trace_id, current().span_id))
        assert seen == [(record.trace_id, record.span_id) for record in lab.records()]

    def test_what_is_shown_names_it(self):
        """For a log line or a debugger."""
        lab = Lab()
        with lab.request(("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")):
            assert repr(current()) == f"<request 1 · trace {TRACE} · in hand>"


class TestSaying:
    """Notes."""

    def test_everything_that_can_be_said_is_recorded(self):
        """Under its key, the last word counting."""
        lab = Lab()
        with lab.request():
            request = current()
            request.annotate("tries", 1)
            request.annotate("tries", 2)
            request.annotate("ok", True)
            request.metadata("cart", {"items": [1, None, "x"]})
            request.metadata("cart", "else", namespace="other")
            request.user, request.name = "ann", "checkout"
            assert (request.user, request.name) == ("ann", "checkout")
        record = lab.record
        assert record.annotations == {"tries": 2, "ok": True}
        assert record.metadata == {"default": {"cart": {"items": [1, None, "x"]}}, "other": {"cart": "else"}}
        assert (record.user, record.name) == ("ann", "checkout")

    def test_it_is_in_the_journal_when_the_call_returns(self):
        """A worker that is killed in the next line has said it."""
        lab = Lab()
        lab.begin()
        current().annotate("last", "words")
        _, (flying,) = lab.joined()
        assert [note.value for note in flying.notes.values()] == ["words"]
        lab.end(lab.recorder.open[1])

    def test_one_request_cannot_flood_the_journal(self):
        """What goes beyond a thousand notes is counted and told."""
        lab = Lab()
        with counted() as counts, lab.request():
            for number in range(MAX_NOTES + 500):
                current().annotate("progress", number)
        assert counts.beyond == 500
        assert lab.record.annotations == {"progress": MAX_NOTES - 1}
        assert lab.record.metadata == {"server_tracing": {"notes_dropped": 500}}

    def test_too_large_a_value_is_named_by_its_size(self):
        """A frame has a limit, and so has what leaves the machine."""
        lab = Lab()
        with lab.request():
            current().metadata("big", {str(n): "x" * 1000 for n in range(90)})
        (said,) = lab.record.metadata["default"].values()
        assert said.startswith("(too large: ")
        assert len(said) < 100 < MAX_METADATA

    def test_a_full_journal_costs_the_note_and_a_count(self):
        """Nobody waits, nothing is raised, and the request is whole."""
        lab = Lab(size=65536)
        with counted() as counts, lab.request():
            for number in range(100):
                current().metadata(str(number), "x" * 1000)
        assert counts.unwritten > 30
        assert lab.record.status == 200


class TestDeciding:
    """`sampled` and `headers` tell others what becomes of the request; the exporter keeps to it."""

    def test_the_decision_is_made_once_and_honoured(self):
        """By a ratio of the trace ids, for a tenth of the requests."""
        lab, told = Lab(Config(sampling=Sampling(rate=0.1, keep_errors=False))), []
        for _ in range(300):
            with lab.request():
                told.append(current().sampled)
                assert headers()["b3"].endswith(f"-{told[-1]:d}")
                assert current().sampled is told[-1]
        assert told == [record.sampled for record in lab.records()]
        assert 0 < sum(told) < 100

    def test_rules_are_asked_once_for_both(self, tmp_path):
        """A reservoir of three: three are told so, and the same three are kept."""
        rules = tmp_path / "rules.json"
        rules.write_text('{"version": 2, "default": {"fixed_target": 3, "rate": 0}, "rules": []}')
        lab, told = Lab(Config(sampling=Sampling(rules=str(rules), keep_errors=False))), []
        lab.sampler._clock = lambda: 5.0
        for _ in range(10):
            with lab.request():
                told.append(current().sampled)
        assert told == [record.sampled for record in lab.records()]
        assert Counter(told) == {True: 3, False: 7}

    def test_nobody_is_asked_where_nobody_asks(self):
        """No frame, no decision, until somebody does."""
        lab = Lab()
        with lab.request():
            current().annotate("a", 1)
        (trail,) = lab.joined()[0]
        assert [note.what for note in trail.notes.values()] == ["annotation"]

    def test_a_callers_decision_is_handed_on(self):
        """Whatever our own rate."""
        lab = Lab(Config(sampling=Sampling(rate=1.0)))
        with lab.request(("TRACEPARENT", f"00-{TRACE}-{SPAN}-00")):
            assert current().sampled is False
        assert lab.record.sampled is False


def test_nobody_takes_everything():
    """Outside of a request the same calls do nothing."""
    nobody = current()
    nobody.annotate("a", object())
    nobody.metadata("a", object(), "n")
    nobody.user = nobody.name = "x"
    assert (nobody.trace_id, nobody.span_id, nobody.sampled, nobody.user, nobody.name) == (
        "",
        "",
        False,
        "",
        "",
    )
    assert not nobody
