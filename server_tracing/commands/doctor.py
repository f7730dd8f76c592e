"""`server-tracing doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import click

from server_tracing.config import ConfigError, Loaded, load
from server_tracing.doctor import FAIL, OK, WARN, Finding, examine
from server_tracing.viewer import lines
from server_tracing.viewer.human import plural, visible
from server_tracing.viewer.screen import Screen

from . import common

STYLES = {OK: ("green",), WARN: ("yellow",), FAIL: ("red", "bold")}
INDENT = 6


@click.command()
@common.as_json
@common.state_dir
def command(*, as_json: bool, state_dir: str | None) -> int:
    """Check settings, directories, and each backend with one test record.

    The exit code is 1 if something would keep requests from being recorded.
    """
    with suppress(ConfigError):  # which will be the finding
        common.become_owner(_load(state_dir).config.state_dir)
    screen = Screen.standard()
    findings: list[Finding] = []
    for finding in examine(lambda: _load(state_dir)):
        findings.append(finding)
        _show(screen, finding, as_json)
        screen.flush()
    if not as_json:
        screen.line(screen.style(_verdict(findings), "bold"))
    return common.NOTHING if any(finding.verdict == FAIL for finding in findings) else common.OK


def _load(state_dir: str | None) -> Loaded:
    return load(arguments={"state_dir": state_dir} if state_dir else None)


def _show(screen: Screen, finding: Finding, as_json: bool) -> None:
    if as_json:
        lines.write(screen, finding)
        return
    verdict = screen.style(f"{finding.verdict:<{INDENT}}", *STYLES[finding.verdict])
    screen.line(f"{verdict}{visible(finding.subject)}: {visible(finding.text)}")
    if finding.remedy:
        screen.line(" " * INDENT + screen.style(f"-> {visible(finding.remedy)}", "dim"))


def _verdict(findings: Sequence[Finding]) -> str:
    fails = sum(finding.verdict == FAIL for finding in findings)
    warnings = sum(finding.verdict == WARN for finding in findings)
    if fails:
        return f"{plural(fails, 'thing')} to repair."
    return f"{plural(warnings, 'thing')} to know, nothing to repair." if warnings else "All is well."
