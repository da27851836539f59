"""How often Python looks for cycles of garbage in a process that searches: seldom, for a look stops every search."""

from __future__ import annotations

import gc

_THRESHOLDS = (100_000, 50, 100)


def collect_seldom() -> None:
    """For processes that live long and hold much: call it once what they hold at first is loaded.

    With a thousand changes a second the full collection came every two seconds and took 30 to 110 ms, since it visits
    every document of the live blocks; nothing of them is garbage. What is there now is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
