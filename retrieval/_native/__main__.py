"""Says in one line what the kernels run on: `python -m retrieval._native`."""

from __future__ import annotations

from retrieval._native import level

if __name__ == "__main__":
    found = level()
    if found == "numpy":
        print(
            "WARNING: the native kernels are not compiled, so vector search uses numpy, many times slower. "
            "Install g++ and run: python -m retrieval._native.build"
        )
    else:
        print(f"native kernels: {found}")
