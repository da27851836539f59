"""Rules of every test run: skips are named at the end and fail under CI; property tests draw the same examples."""

from __future__ import annotations

from collections.abc import Generator

import hypothesis
import pytest

from services.settings import environment, keep_to_ourselves

keep_to_ourselves()

hypothesis.settings.register_profile(
    "riddle",
    # No deadline, for the machine may be busy; the same examples each time, so that a failure can be had again.
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("riddle")


def _skips_fail() -> bool:
    return environment().get("CI", "").lower() == "true"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    text = where[2] if isinstance(where, tuple) else str(where)
    return text.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true what would be skipped fails; an expected failure stays one."""
    report = yield
    if report.skipped and _skips_fail() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true does not allow: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a file that skips itself as a whole."""
    report = yield
    if report.outcome == "skipped" and _skips_fail():
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true does not allow: {_reason(report)}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List every skipped test by name with its reason."""
    skipped = terminalreporter.getreports("skipped")
    if skipped:
        terminalreporter.section(f"{len(skipped)} skipped", sep="-")
        for report in sorted(skipped, key=lambda each: each.nodeid):
            terminalreporter.line(f"{report.nodeid}: {_reason(report)}")
