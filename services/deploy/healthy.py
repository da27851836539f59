"""Ends with 0 when an address answers 200, else with 1 and what it said: the health check of containers."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4.0


def main(arguments: list[str]) -> int:
    """The one argument is the address."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m services.deploy.healthy ADDRESS\n")
        return 2
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(arguments[0], timeout=TIMEOUT_S):
            return 0
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode(errors="replace")
        sys.stderr.write(f"{arguments[0]}: {error.code} {said}\n")
    except OSError as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
