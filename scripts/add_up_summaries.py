"""Prints what failed in several runs of pytest, and their counts and times added up in its form.

Takes the logs of the runs. Exits with 1, and prints no summary, if one of them came to no end.
"""

import itertools
import re
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

_SUMMARY = re.compile(r"^=+ (.*) in ([0-9.]+)s.* =+$", re.MULTILINE)
_FAILURE = re.compile(r"^(?:FAILED|ERROR) [^ ]+\.py.*", re.MULTILINE)
_COUNT = re.compile(r"([0-9]+) ([a-z]+)")
_OUTCOMES = ("failed", "passed", "skipped", "xfailed", "xpassed", "warning", "error")
"""In pytest's order. Tests that a run leaves out are in another one."""
_WITH_PLURAL = ("warning", "error")
_WIDTH = 80


def add_up(logs: list[str]) -> str | None:
    """The one line, or None if a log has no summary."""
    counts: Counter[str] = Counter()
    seconds = 0.0
    for log in logs:
        summaries = _SUMMARY.findall(log)
        if not summaries:
            return None
        words, time = summaries[-1]
        seconds += float(time)
        for number, outcome in _COUNT.findall(words):
            counts[_singular(outcome)] += int(number)
    parts = [f"{counts[each]} {_named(each, counts[each])}" for each in _OUTCOMES if counts[each]]
    hours = timedelta(seconds=int(seconds))
    summary = f" {', '.join(parts)} in {seconds:.2f}s ({hours}) "
    rule = "=" * max(1, (_WIDTH - len(summary)) // 2)
    return rule + summary + rule


def _singular(outcome: str) -> str:
    return outcome.removesuffix("s") if outcome.removesuffix("s") in _WITH_PLURAL else outcome


def _named(outcome: str, count: int) -> str:
    return f"{outcome}s" if outcome in _WITH_PLURAL and count > 1 else outcome


if __name__ == "__main__":
    logs = [Path(log).read_text(errors="replace") for log in sys.argv[1:]]
    for failure in itertools.chain.from_iterable(map(_FAILURE.findall, logs)):
        print(failure)
    summary = add_up(logs)
    if summary is None:
        sys.exit(1)
    print(summary)
