"""Spans: what was begun stands in the record, where it was begun, whatever is done to it."""

from __future__ import annotations

import asyncio
import threading

import pytest
from inside_kit import Lab, counted

from server_tracing import current, span
from server_tracing.inside.live import MAX_SPANS
from server_tracing.inside.spans import MAX_SAID, Span, activate, begin_span, deactivate, end_span


def tree_of(record):
    """Names of spans by the names of their parents; `""` is the request."""
    names = {record.span_id: "", **{each.span_id: each.name for each in record.spans}}
    return {each.name: names[each.parent_id] for each in record.spans}


class TestBlocks:
    """`with span(...)`."""

    def test_spans_nest_as_blocks_do(self):
        """And what follows a block is outside of it."""
        lab = Lab()
        with lab.request():
            with span("a"), span("b", "client"):
                pass
            with span("c"):
                pass
        assert tree_of(lab.record) == {"a": "", "b": "a", "c": ""}
        assert [each.kind for each in lab.record.spans] == ["internal", "client", "internal"]
        assert all(each.duration_ms is not None for each in lab.record.spans)

    def test_an_exception_passes_and_is_recorded(self):
        """With its stack, on every span it passes."""
        lab = Lab()
        with lab.request(), pytest.raises(ValueError, match="boom"), span("outer"), span("inner"):
            raise ValueError("boom")
        assert [each.exception.message for each in lab.record.spans] == ["boom", "boom"]
        assert "test_an_exception_passes" in lab.record.spans[0].exception.stack

    def test_what_is_said_of_a_span_is_in_its_record(self):
        """Bounded in number."""
        lab = Lab()
        with counted() as counts, lab.request(), span("a") as a:
            for number in range(MAX_SAID + 3):
                a.annotate(f"key {number}", number)
            a.metadata("cart", {"items": [1]})
        (only,) = lab.record.spans
        assert len(only.annotations) == MAX_SAID
        assert only.metadata == {"cart": {"items": [1]}}
        assert counts.beyond == 3

    def test_a_running_span_is_in_the_journal_with_what_was_said(self):
        """A worker that is killed now has told which span it was in."""
        lab = Lab()
        slot = lab.begin()
        with span("fatal") as fatal:
            fatal.annotate("last", "words")
            _, (flying,) = lab.joined()
            (written,) = flying.spans.values()
            assert (written.name, written.stop, written.annotations) == ("fatal", 0, {"last": "words"})
        lab.end(slot)

    def test_one_span_can_be_used_again_but_not_twice_at_once(self):
        """One after the other they are two; within itself it is one, and counted."""
        lab = Lab()
        again = span("again")
        with counted() as counts, lab.request():
            for _ in range(2):
                with again as opened:
                    opened.annotate("a", 1)
            with again, again:
                pass
        assert [each.annotations for each in lab.record.spans] == [{"a": 1}, {"a": 1}, {}]
        assert counts.twice == 2

    def test_spans_beyond_the_bound_are_counted(self):
        """And what is within them belongs to the nearest that was written."""
        lab = Lab(size=1 << 22)
        with counted() as counts, lab.request(), span("outer"):
            for _ in range(MAX_SPANS + 500):
                with span("many"):
                    pass
        record = lab.record
        assert len(record.spans) == MAX_SPANS
        assert record.spans_dropped == counts.beyond == 501

    def test_a_killed_request_has_about_the_right_number_of_them(self):
        """The last power of two: nobody said a last word."""
        lab = Lab(size=1 << 22)
        lab.begin()
        for _ in range(MAX_SPANS + 300):
            span("many").__enter__()
        _, (flying,) = lab.joined()
        assert [note.value for note in flying.notes.values() if note.what == "spans_dropped"] == [256]
        lab.end(lab.recorder.open[1])

    def test_outside_of_a_request_it_does_nothing(self):
        """Nor is anything said."""
        with counted() as counts, span("nowhere") as nowhere:
            nowhere.annotate("a", 1)
            nowhere.metadata("a", 1)
            assert repr(nowhere) == "<span 'nowhere' · internal · of no request>"
        assert str(counts) == "nothing let go"

    @pytest.mark.parametrize("name", [None, 5, "\ud800", "x" * 10_000])
    def test_any_name_will_do(self, name):
        """As text, of a bounded length."""
        lab = Lab()
        with lab.request(), span(name, name):
            pass
        assert len(lab.record.spans[0].name) <= 200


class TestDecorated:
    """`@span(...)`."""

    def test_a_function_is_a_span_every_time(self):
        """Its result, its exceptions and its name are its own."""
        lab = Lab()

        @span("work")
        def work(number):
            """Does it."""
            if number < 0:
                raise ValueError(number)
            return work(number - 1) if number else "done"

        with lab.request():
            assert work(2) == "done"
            with pytest.raises(ValueError, match="-1"):
                work(-1)
        assert (work.__name__, work.__doc__) == ("work", "Does it.")
        assert [each.exception is None for each in lab.record.spans] == [True, True, True, False]
        assert len({each.parent_id for each in lab.record.spans}) == 3

    def test_a_coroutine_lasts_until_it_ends(self):
        """Side by side with others."""
        lab = Lab()

        @span("fetch")
        async def fetch(number):
            await asyncio.sleep(0)
            with span(f"part {number}"):
                await asyncio.sleep(0)
            return number

        async def serve():
            with lab.request():
                return await asyncio.gather(fetch(1), fetch(2))

        assert asyncio.iscoroutinefunction(fetch)
        assert asyncio.run(serve()) == [1, 2]
        names = tree_of(lab.record)
        assert (names["part 1"], names["part 2"], names["fetch"]) == ("fetch", "fetch", "")
        assert len({each.parent_id for each in lab.record.spans}) == 3

    def test_a_generator_lasts_from_its_first_item_to_its_last(self):
        """Between items it is not the parent of what others do; all its ways in and out work."""
        lab = Lab()

        @span("items")
        def items():
            sent = yield 1
            with span(f"got {sent}"):
                pass
            try:
                yield 2
            except KeyError:
                yield 3
            return "end"

        with lab.request():
            unused = items()
            made = items()
            assert next(made) == 1
            with span("between"):
                pass
            assert made.send("it") == 2
            assert made.throw(KeyError("x")) == 3
            with pytest.raises(StopIteration, match="end"):
                next(made)
            del unused
        assert tree_of(lab.record) == {"items": "", "between": "", "got it": "items"}
        assert lab.record.spans[0].exception is None

    def test_a_generator_that_is_not_used_up_ends_when_it_is_closed(self):
        """Which is no fault."""
        lab, closed = Lab(), []

        @span("items")
        def items():
            try:
                yield from range(5)
            finally:
                closed.append(True)

        with lab.request():
            for _ in (made := items()):
                break
            made.close()
            assert not isinstance(current(), Span)
        (only,) = lab.record.spans
        assert (only.exception, closed) == (None, [True])
        assert only.duration_ms is not None

    def test_an_async_generator_does_the_same(self):
        """Sent to, thrown into, closed."""
        lab = Lab()

        @span("items")
        async def items():
            try:
                sent = yield 1
                with span(f"got {sent}"):
                    await asyncio.sleep(0)
                yield 2
            except KeyError:
                yield 3

        async def serve():
            with lab.request():
                made = items()
                seen = [await made.__anext__()]
                with span("between"):
                    seen.append(await made.asend("it"))
                seen.append(await made.athrow(KeyError("x")))
                seen += [item async for item in made]
                other = items()
                await other.__anext__()
                await other.aclose()
                return seen

        assert asyncio.run(serve()) == [1, 2, 3]
        assert tree_of(lab.record) == {"items": "", "between": "", "got it": "items"}
        assert [each.exception for each in lab.record.spans] == [None] * 4

    def test_async_with_is_with(self):
        """For those whose fingers type it."""
        lab = Lab()

        async def serve():
            with lab.request():
                async with span("a"), span("b"):
                    await asyncio.sleep(0)

        asyncio.run(serve())
        assert tree_of(lab.record) == {"a": "", "b": "a"}


class TestMechanism:
    """`begin_span` and `end_span`: what every bridge uses."""

    def test_parents_ids_and_stamps_may_be_given(self):
        """Libraries know them already; the context is left alone."""
        lab = Lab()
        with lab.request():
            first = begin_span("first", "server", span_id=0xABC, start=5)
            second = begin_span("second", parent=first)
            third = begin_span("third")
            for each in (third, second):
                end_span(each)
            end_span(first, stop=1_000_005)
        spans = {each.name: each for each in lab.record.spans}
        assert tree_of(lab.record) == {"first": "", "second": "first", "third": ""}
        assert (spans["first"].span_id, spans["first"].duration_ms) == ("0000000000000abc", 1.0)

    def test_the_active_one_is_the_parent_of_the_next(self):
        """Until it is deactivated."""
        lab = Lab()
        with lab.request():
            first = begin_span("first")
            activate(first)
            second = begin_span("second")
            deactivate(first)
            third = begin_span("third")
            for each in (first, second, third):
                end_span(each)
        assert tree_of(lab.record) == {"first": "", "second": "first", "third": ""}

    def test_ended_twice_the_first_word_counts(self):
        """Also from another thread."""
        lab = Lab()
        with counted() as counts, lab.request():
            first = begin_span("first")
            end_span(first)
            thread = threading.Thread(target=end_span, args=(first, ValueError("late")))
            thread.start()
            thread.join()
            first.annotate("late", 1)
        assert lab.record.spans[0].exception is None
        assert (counts.twice, counts.late) == (1, 1)

    def test_ended_after_its_request_it_is_shown_as_not_ended(self):
        """And enters nobody else's record."""
        lab = Lab()
        with counted() as counts:
            with lab.request():
                late = begin_span("late")
            with lab.request():
                end_span(late)
                begin_span("of the past", parent=late)
        first, second = lab.records()
        assert [each.duration_ms for each in first.spans] == [None]
        assert second.spans == []
        assert counts.late == 2

    def test_deactivated_somewhere_else_it_changes_nothing_there(self):
        """In a thread of another request, say."""
        lab = Lab()
        first = lab.begin()
        span_of_first = begin_span("first")
        activate(span_of_first)
        second = lab.begin()
        deactivate(span_of_first)
        assert current().number == second.number
        for slot in (first, second):
            lab.end(slot)

    def test_a_span_too_large_for_a_frame_is_written_without_its_details(self):
        """Rather than not at all."""
        lab = Lab()
        with lab.request(), span("big") as big:
            for number in range(4):
                big.metadata(str(number), ["x" * 1000] * 30)
        assert lab.record.spans[0].duration_ms is not None

    def test_shown_it_says_what_it_is(self):
        """For a log line or a debugger."""
        lab = Lab()
        with lab.request():
            first = begin_span("first")
            assert repr(first) == "<span 'first' · internal · running>"
            end_span(first)
        assert repr(first) == "<span 'first' · internal · ended>"
