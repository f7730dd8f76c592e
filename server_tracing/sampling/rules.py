"""X-Ray's local sampling rules: the file, which rule a request falls under, and each rule's reservoir.

The file is the X-Ray SDK's, version 1 (`service_name`, matched against the host all the same) or 2 (`host`):
https://docs.aws.amazon.com/xray/latest/devguide/xray-sdk-python-configuration.html#xray-sdk-python-configuration-sampling
The first rule that matches decides, else the default. What a request does not tell (no Host header, say)
matches every pattern. A host is compared as received, with its port.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from server_tracing.naming.wildcard import Wildcard
from server_tracing.sampling.ratio import in_ratio
from server_tracing.sampling.weighing import Share

Target = Annotated[int, Meta(ge=0)]
Probability = Annotated[float, Meta(ge=0)]


class RulesError(Exception):
    """The rules cannot be used; `str()` is the sentence that says why: the file, the field, what is wrong."""


class _Default(Struct, forbid_unknown_fields=True):
    fixed_target: Target
    rate: Probability
    description: str = ""


class _Rule(Struct, kw_only=True):
    host: str
    http_method: str
    url_path: str
    fixed_target: Target
    rate: Probability
    description: str = ""


class _Rule1(_Rule, kw_only=True):
    host: str = field(name="service_name")


class _Version(Struct):
    version: Literal[1, 2]


class _File2(Struct):
    default: _Default
    rules: list[_Rule] = []


class _File1(Struct):
    default: _Default
    rules: list[_Rule1] = []


class Rule:
    """One rule of one process: `fixed_target` requests of every second, and `rate` of the others."""

    boosts = False

    def __init__(self, name: str, rule: _Rule | _Default, *, central: bool = False) -> None:
        self.central = central
        self.name, self.because = name, f"rule:{name}"
        self.fixed_target, self.rate = rule.fixed_target, rule.rate
        self.share = Share()
        self._second, self._taken = -1, 0
        patterns = ("*",) * 3 if isinstance(rule, _Default) else (rule.host, rule.http_method, rule.url_path)
        self._host, self._method, self._path = map(matcher, patterns)

    def matches(self, host: str | None, method: str | None, path: str | None) -> bool:
        """Whether a request falls under this rule."""
        return (
            (not host or self._host is None or self._host(host))
            and (not method or self._method is None or self._method(method))
            and (not path or self._path is None or self._path(path))
        )

    def take(self, second: int) -> bool:
        """Take one request from the reservoir of this second, if it holds one still."""
        if second != self._second:
            self._second, self._taken = second, 0
        if self._taken >= self.fixed_target:
            return False
        self._taken += 1
        return True

    def draw(self, now: float, trace_id: int) -> bool:
        """Decide on one request."""
        return self.take(int(now)) or in_ratio(trace_id, self.rate)

    def finish(self, sampled: bool, anomaly: bool) -> None:
        """Nobody asks what became of a request; central rules are asked."""

    def __repr__(self) -> str:
        return f"<Rule {self.name} · {self.fixed_target}/s, then {self.rate:.3%}>"


def matcher(pattern: str) -> Callable[[str], bool] | None:
    """None where everything matches: most rules look at one thing only."""
    return None if pattern == "*" else Wildcard(pattern).matches


class Rules:
    """The rules of one file, in their order; the default is the last and matches everything."""

    def __init__(self, rules: Sequence[_Rule], default: _Default) -> None:
        named = [Rule(rule.description or str(number), rule) for number, rule in enumerate(rules, start=1)]
        self.rules = [*named, Rule("default", default)]

    def find(
        self, host: str | None, method: str | None, path: str | None, service: str | None = None
    ) -> Rule:
        """The rule a request falls under, whatever its service is called."""
        return next(rule for rule in self.rules if rule.matches(host, method, path))

    def named(self, name: str) -> Rule | None:
        """The rule of this name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def __repr__(self) -> str:
        return f"<Rules {len(self.rules) - 1} and the default>"


def built_in() -> Rules:
    """What X-Ray's SDK does where there are no rules: one request of every second, and 5 % of the others."""
    return Rules((), _Default(fixed_target=1, rate=0.05))


def gone(name: str, *, central: bool) -> Rule:
    """In the place of a rule that has decided, and is no more."""
    return Rule(name, _Default(fixed_target=0, rate=0.0), central=central)


_decode_1 = msgspec.json.Decoder(_File1).decode
_decode_2 = msgspec.json.Decoder(_File2).decode


def load(path: str) -> Rules:
    """Read a rules file, or the rules themselves, as JSON; or raise `RulesError`."""
    given = is_rules(path)
    try:
        return parse(path.encode() if given else Path(path).read_bytes())
    except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
        where = "sampling rules" if given else f"sampling rules {path}"
        raise RulesError(f"{where}: {_problem(error)}") from error


def is_rules(text: str) -> bool:
    """Whether this is the rules themselves and no path."""
    return text.lstrip().startswith("{")


def parse(text: bytes) -> Rules:
    """Rules from the text of a file; raises what `msgspec` does."""
    version = msgspec.json.decode(text, type=_Version).version
    file = _decode_1(text) if version == 1 else _decode_2(text)
    return Rules(file.rules, file.default)


def _problem(error: Exception) -> str:
    """What is wrong, the field first: `Expected X - at `$.a.rate`` becomes `a.rate: Expected X`."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, RecursionError):
        return "nested too deeply"
    what, _, where = str(error).partition(" - at `$.")
    return f"{where[:-1]}: {what}" if where else what
