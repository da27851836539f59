"""What `python -m ranking.train` runs."""

from __future__ import annotations

import sys

from ranking.train.command import main

if __name__ == "__main__":
    main(sys.argv[1:])
