"""A web of a few pages, held in a dictionary: what connectors are tested with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from indexing.connectors.web import Reply
from retrieval.errors import Unavailable


@dataclass
class FakeWeb:
    """Answers GET from ``pages`` (content type and body by address), with an ETag; 404 for all others.

    ``down`` are addresses that nobody answers, ``statuses`` addresses that are answered with a status alone.
    ``asked`` keeps every request.
    """

    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    statuses: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def html(self, url: str, body: str) -> None:
        self.pages[url] = ("text/html; charset=utf-8", f"<html><body>{body}</body></html>".encode())

    def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        self.asked.append((url, dict(headers)))
        if url in self.down:
            raise Unavailable(f"{url} does not answer")
        if url in self.statuses:
            return Reply(self.statuses[url], {}, b"")
        if url not in self.pages:
            return Reply(404, {}, b"")
        kind, body = self.pages[url]
        tag = hashlib.sha256(body).hexdigest()[:8]
        if headers.get("If-None-Match") == tag:
            return Reply(304, {}, b"")
        return Reply(200, {"content-type": kind, "etag": tag}, body)
