"""Pages of the web for `riddle sync`: one client, with limits on time and size."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import httpx

from indexing.connectors.web import Reply
from retrieval.errors import SourceUnreadable, Unavailable

MAX_BYTES = 64 << 20
_AGENT = f"riddle/{version('riddle-search')}"


class HttpWeb:
    """GET over one pool of connections, redirections followed. Thread-safe."""

    def __init__(self, timeout_s: float = 30.0, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._http = httpx.Client(
            timeout=timeout_s,
            follow_redirects=True,
            max_redirects=5,
            headers={"User-Agent": _AGENT, "Accept": "text/html, text/plain, application/pdf, */*;q=0.5"},
        )

    def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Raises Unavailable when nobody answers, SourceUnreadable for a page beyond the limit."""
        try:
            with self._http.stream("GET", url, headers=dict(headers)) as response:
                body = bytearray()
                for block in response.iter_bytes():
                    body += block
                    if len(body) > self._max_bytes:
                        raise SourceUnreadable(f"more than {self._max_bytes >> 20} MiB")
                return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))
        except (httpx.TransportError, httpx.TooManyRedirects, httpx.DecodingError) as error:
            raise Unavailable(f"{url} does not answer ({type(error).__name__})", stage="fetch") from error
        except httpx.InvalidURL as error:
            raise SourceUnreadable(f"no address of a web page ({error})") from error

    def close(self) -> None:
        self._http.close()
