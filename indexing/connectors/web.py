"""Pages on the web as sources: a sitemap, or a list of addresses; HTTP comes through a client handed in."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from indexing.access import AccessRule, parse_principals, ruled_by
from indexing.connectors.base import Fetched, Listed
from indexing.converters import Forced
from indexing.items import Item
from indexing.sources import Rejected
from retrieval.errors import InvalidRequest, SourceUnreadable, Unavailable

MAX_SITEMAP_BYTES = 64 << 20
MAX_SITEMAPS = 10_000

_FORMATS: Mapping[str, Forced | None] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/x-rst": "rst",
    "text/plain": None,
    "application/pdf": None,
    "application/octet-stream": None,
    "": None,
}
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to GET, redirections followed. Names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Web(Protocol):
    """Gets pages. Thread-safe. Time limits, redirections and the limit on a page's size are its own."""

    def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Raises Unavailable when nobody answers, SourceUnreadable for a page beyond the limit."""
        ...


class Pages:
    """Fetches pages, and asks for those known already only if they have changed (RFC 9110, 13.1)."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def fetch(self, listed: Listed, mark: str) -> Fetched | None:
        """See ``Connector.fetch``."""
        known = json.loads(mark) if mark else {}
        reply = self._web.get(listed.item, known)
        if reply.status == 304 and mark:
            return None
        if reply.status in (404, 410):
            return Fetched(())
        _check(listed.item, reply)
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _FORMATS and kind != _WORD:
            raise SourceUnreadable(f"not a kind of document that is read ({kind})")
        asked = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
        found = {ask: reply.headers[name] for ask, name in asked.items() if reply.headers.get(name)}
        suffix = ".docx" if kind == _WORD and not listed.item.endswith(".docx") else ""
        item = Item(
            listed.item + suffix, listed.item, reply.body, _FORMATS.get(kind), acl=listed.acl, origin=listed.item
        )
        return Fetched([item], json.dumps(found) if found else "")


class UrlListConnector:
    """The addresses in a text file, one a line, after a blank the principals that may see it; ``#`` begins a remark."""

    parallel = 4

    def __init__(self, path: Path, web: Web, rules: Sequence[AccessRule] = ()) -> None:
        """Raises InvalidRequest when there is no such file."""
        if not path.is_file():
            raise InvalidRequest(f"{path}: no such file or folder")
        self.name = f"urls:{path.resolve()}"
        self._path, self._rules, self._pages = path, rules, Pages(web)

    def listed(self) -> Iterator[Listed]:
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            url, *rest = line.split(maxsplit=1)
            principals = "".join(rest).replace(",", " ").split()
            if urlsplit(url).scheme not in ("http", "https"):
                raise InvalidRequest(f"{self._path} line {number}: {url[:80]!r} is no address of a web page")
            acl = ruled_by(self._rules, url)
            if acl is None:
                acl = parse_principals(principals, f"{self._path} line {number}") if principals else ()
            yield Listed(url, "", acl)

    def fetch(self, listed: Listed, mark: str) -> Fetched | None:
        return self._pages.fetch(listed, mark)


class SitemapConnector:
    """The pages of a sitemap, or of an index of sitemaps (sitemaps.org), plain or packed with gzip.

    A page has changed when its ``lastmod`` with a time of day has; without one the server is asked. Pages of another
    host are set aside, as the protocol has it.
    """

    parallel = 4

    def __init__(self, url: str, web: Web, rules: Sequence[AccessRule] = ()) -> None:
        self.name = f"sitemap:{url}"
        self._url, self._rules, self._web, self._pages = url, rules, web, Pages(web)

    def listed(self) -> Iterator[Listed]:
        waiting, seen = [self._url], {self._url}
        while waiting:
            sitemap = waiting.pop(0)
            for kind, url, changed in self._entries(sitemap):
                if kind == "sitemap" and url not in seen:
                    if len(seen) >= MAX_SITEMAPS:
                        raise InvalidRequest(f"{self._url} leads to more than {MAX_SITEMAPS:,} sitemaps")
                    seen.add(url)
                    waiting.append(url)
                elif kind == "url":
                    yield Listed(url, changed if "T" in changed else "", ruled_by(self._rules, url) or ())

    def fetch(self, listed: Listed, mark: str) -> Fetched | None:
        if urlsplit(listed.item)[:2] != urlsplit(self._url)[:2]:
            return Fetched([Rejected(listed.item, "of another host than the sitemap that names it")])
        return self._pages.fetch(listed, mark)

    def _entries(self, sitemap: str) -> Iterator[tuple[str, str, str]]:
        """``url`` or ``sitemap``, address, and last change as it is written. Raises Unavailable, InvalidRequest."""
        from lxml import etree

        reply = self._web.get(sitemap, {})
        if reply.status != 200:
            raise Unavailable(f"{sitemap} answers with status {reply.status}, so it is not known what there is")
        try:
            parsed = etree.iterparse(
                io.BytesIO(_unpacked(reply.body)), tag=("{*}url", "{*}sitemap"), resolve_entities=False, no_network=True
            )
            for _, element in parsed:
                kind = etree.QName(element).localname
                found = {
                    etree.QName(child).localname: (child.text or "").strip() for child in element.iterchildren("*")
                }
                if found.get("loc"):
                    yield kind, urljoin(sitemap, found["loc"]), found.get("lastmod", "")
                element.clear()
        except (etree.XMLSyntaxError, zlib.error, ValueError) as error:
            raise InvalidRequest(f"{sitemap} is no sitemap ({error})") from error


def _check(url: str, reply: Reply) -> None:
    """Refused for good is set aside; a server in trouble may know better later."""
    if reply.status == 429 or reply.status >= 500:
        raise Unavailable(f"{url} answers with status {reply.status}", stage="fetch")
    if reply.status != 200:
        raise SourceUnreadable(f"answers with status {reply.status}")


def _unpacked(body: bytes) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return body
    unpacked = zlib.decompressobj(wbits=31).decompress(body, MAX_SITEMAP_BYTES + 1)
    if len(unpacked) > MAX_SITEMAP_BYTES:
        raise ValueError(f"larger than {MAX_SITEMAP_BYTES >> 20} MiB")
    return unpacked
