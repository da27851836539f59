"""What makes a searching process stop for tens of milliseconds, and how it is made short."""

from __future__ import annotations

import gc
import sys

_THRESHOLDS = (5_000, 10_000, 1_000)
_SWITCH_S = 0.0005


def keep_pauses_short() -> None:
    """For processes that live long, hold much and search: call it once what they hold at first is loaded.

    Python looks for cycles of garbage by visiting every young object, and every search waits. With a thousand changes a
    second a look at 100,000 took 25 ms and a full one up to 110, since it visits every document of the live blocks;
    nothing of them is garbage. So it looks at few objects at a time, hardly ever at old ones, and never again at what
    is there now.

    A search lets go of the interpreter's lock at each of some fifty native calls. Beside a thread that computes in
    Python it then waits up to the switch interval, 5 ms by default, to get it back.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_S)
