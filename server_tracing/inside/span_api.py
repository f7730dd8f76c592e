"""`span("load cart")`: a span as people write it, around a block or on a function.

On a coroutine function it lasts until the coroutine ends, on a generator function from the first item asked
for until the last; between two items, while somebody else's code runs, it is not the one in which new spans
begin.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any, TypeVar, cast

from server_tracing.inside.host import COUNTS
from server_tracing.inside.spans import Span, activate, begin, deactivate, end_span

Function = TypeVar("Function", bound=Callable[..., Any])


class OwnSpan(Span, eq=False):
    """A span by `with`, `async with` or `@`; it can be used again when it has ended."""

    def __enter__(self) -> OwnSpan:
        if self.stop == 0:  # already within it
            COUNTS.twice += 1
            return self
        if self.stop > 0:
            self.annotations = self.details = None
            self.called = False
        begin(self)
        activate(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        deactivate(self)
        end_span(self, None if isinstance(error, GeneratorExit) else error)

    async def __aenter__(self) -> OwnSpan:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Function) -> Function:
        """The function, every call of it a span."""
        if inspect.isasyncgenfunction(function):
            traced = self._around_async_generator(function)
        elif inspect.isgeneratorfunction(function):
            traced = self._around_generator(function)
        elif inspect.iscoroutinefunction(function):
            traced = self._around_coroutine(function)
        else:
            traced = self._around_call(function)
        return cast(Function, functools.wraps(function)(traced))

    def _again(self) -> OwnSpan:
        return OwnSpan(self.name, self.kind)

    def _around_call(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self._again():
                return function(*arguments, **named)

        return call

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def coroutine(*arguments: Any, **named: Any) -> Any:
            with self._again():
                return await function(*arguments, **named)

        return coroutine

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def generator(*arguments: Any, **named: Any) -> Generator[Any, Any, Any]:
            inner, span = function(*arguments, **named), self._again()
            step: Callable[[Any], Any] = inner.send
            value: Any = None
            with span:
                while True:
                    try:
                        item = step(value)
                    except StopIteration as end:
                        return end.value
                    deactivate(span)
                    try:
                        step, value = inner.send, (yield item)
                    except GeneratorExit:
                        inner.close()
                        raise
                    except BaseException as error:  # noqa: BLE001 - thrown in; the generator's to handle
                        step, value = inner.throw, error
                    finally:
                        activate(span)

        return generator

    def _around_async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def generator(*arguments: Any, **named: Any) -> AsyncGenerator[Any, Any]:
            inner, span = function(*arguments, **named), self._again()
            step: Callable[[Any], Any] = inner.asend
            value: Any = None
            with span:
                while True:
                    try:
                        item = await step(value)
                    except StopAsyncIteration:
                        return
                    deactivate(span)
                    try:
                        step, value = inner.asend, (yield item)
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001 - as above
                        step, value = inner.athrow, error
                    finally:
                        activate(span)

        return generator
