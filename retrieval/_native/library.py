"""The compiled kernels as ctypes functions, for the best instruction set that this processor runs."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ABI = 8
"""Counts changes of any signature; a library of another number is not used. Beside ``riddle_abi`` in scan.cpp."""

_HERE = Path(__file__).resolve().parent
_P, _I, _F, _N = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "riddle_quantise_int8": (None, (_P, _I, _I, _P, _P)),
    "riddle_scan_int8": (_I, (_P, _P, _I, _I, _P, _F, _P, _I, _P, _P)),
    "riddle_score_rows_int8": (None, (_P, _P, _P, _I, _P, _I, _P)),
    "riddle_score_rows_f16": (None, (_P, _P, _I, _P, _I, _P)),
    "riddle_score_rows_f32": (None, (_P, _P, _I, _P, _I, _P)),
    "riddle_max_sim": (_N, (_P, _I, _P, _P, _I, _P, _I, _P, _P, _P, _I, _I, _P, _I, _I, _P)),
    "riddle_top": (_I, (_P, _I, _I, _P, _P)),
    "riddle_search_lists_int8": (
        _I,
        (_P, _P, _I, _P, _F, _P, _P, _I, _P, _P, _N, _P, _I, _I, _F, _F, _P, _P, _P),
    ),
    "riddle_search_lists_f16": (
        _I,
        (_P, _P, _I, _P, _F, _P, _P, _I, _P, _P, _N, _P, _I, _I, _F, _F, _P, _P, _P),
    ),
    "riddle_transformer": (_N, (_P, _P, _P, _P, _I, _N, _P)),
    "riddle_nearest_leaves": (None, (_P, _P, _I, _I, _P, _P, _I, _P, _P, _P, _I, _I, _P, _P)),
    "riddle_add_rows": (None, (_P, _P, _P, _I, _I, _P, _P, _P)),
    "riddle_cell_neighbours": (_N, (_P, _P, _I, _P, _I, _I, _P)),
    "riddle_graph_prune": (_N, (_P, _P, _I, _P, _I, _I, _I, _F, _I, _P)),
    "riddle_graph_improve": (_N, (_P, _P, _I, _P, _I, _I, _I, _P, _I, _I, _F, _I, _P)),
    "riddle_graph_incoming": (None, (_P, _I, _I, _P, _P)),
    "riddle_graph_mutual": (_N, (_P, _P, _I, _P, _I, _P, _P, _I, _I, _F, _I, _P)),
    "riddle_graph_search": (_I, (_P, _P, _I, _P, _I, _P, _P, _I, _I, _P, _P, _I, _I, _P, _P, _P)),
    "riddle_graph_search_within": (
        _I,
        (_P, _P, _I, _I, _P, _I, _P, _P, _P, _I, _P, _P, _P, _P, _P, _I, _I, _I, _I, _I, _I, _I, _P, _P, _P),
    ),
}
LEVELS = {4: "avx512", 2: "avx2", 0: "portable"}


@functools.cache
def loaded() -> ctypes.CDLL | None:
    """The library for this processor, or None when it was not built or belongs to other sources."""
    portable = opened("portable")
    if portable is None:
        return None
    processor: int = portable.riddle_processor()
    best = (opened(name) for number, name in LEVELS.items() if number <= processor)
    return next((library for library in best if library is not None), None)


@functools.cache
def opened(level: str) -> ctypes.CDLL | None:
    """The library of one level, whether this processor runs it or not; None when it is not there."""
    try:
        library = ctypes.CDLL(str(_HERE / f"kernels-{level}.so"))
        if library.riddle_abi() != ABI:
            return None
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library


def level() -> str:
    """What the kernels run on: ``avx512``, ``avx2``, ``portable``, or ``numpy`` when nothing was compiled."""
    library = loaded()
    return "numpy" if library is None else next(name for name in LEVELS.values() if opened(name) is library)


def address(array: NDArray[np.generic]) -> int:
    """Where the array's values begin; it must outlive the call."""
    return int(array.ctypes.data)
