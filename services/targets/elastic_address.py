"""Where an Elasticsearch index is and how to ask it: the part of `--target` behind ``elasticsearch:``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from retrieval.errors import InvalidRequest

SCHEME = "elasticsearch:"
FORM = "elasticsearch:http://USER:PASSWORD@HOST:9200/INDEX?fields=title^2,text"

_TYPES = ("best_fields", "most_fields", "cross_fields", "phrase", "phrase_prefix", "bool_prefix")
_OPTIONS = ("fields", "id", "type", "vector", "encoder", "template")
_INDEX = re.compile(r"[^\\/?\"<>|\s#A-Z_+-][^\\/?\"<>|\s#A-Z]*")


@dataclass(frozen=True, slots=True)
class ElasticAddress:
    """One index of one cluster, and which of its fields a search looks in."""

    url: str
    """Without credentials, and without a slash at the end."""
    index: str
    """Name, alias, or several by commas or with ``*``."""
    user: str = ""
    password: str = field(default="", repr=False)
    fields: tuple[str, ...] = ()
    """As ``multi_match`` takes them, such as ``title^2``; empty for every text field."""
    type: str = "best_fields"
    id_field: str = ""
    """The field that holds a document's id; empty takes ``_id``."""
    vector_field: str = ""
    encoder: str = ""
    template: str = ""
    """A file with a whole search body, in which ``{{query}}`` stands for the question."""


def parse_address(target: str) -> ElasticAddress:
    """Read ``elasticsearch:URL/INDEX?OPTIONS``. Raises InvalidRequest, which never repeats a password."""
    parts = urlsplit(target.removeprefix(SCHEME))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(f"the target is no address of an index: write {FORM}")
    try:
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError as error:
        raise InvalidRequest(f"the target's port is no number up to 65535: write {FORM}") from error
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path, _, index = parts.path.rstrip("/").rpartition("/")
    index = unquote(index)
    if not _INDEX.fullmatch(index):
        raise InvalidRequest(f"{index!r} names no index (they are in lower case): write {FORM}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise InvalidRequest(f"the target has no option {unknown[0]!r}; it has {', '.join(_OPTIONS)}")
    kind = options.get("type", "best_fields")
    if kind not in _TYPES:
        raise InvalidRequest(f"multi_match has no type {kind!r}; it has {', '.join(_TYPES)}")
    return ElasticAddress(
        url=urlunsplit((parts.scheme, host + port, path, "", "")),
        index=index,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        fields=tuple(filter(None, (each.strip() for each in options.get("fields", "").split(",")))),
        type=kind,
        id_field=options.get("id", ""),
        vector_field=options.get("vector", ""),
        encoder=options.get("encoder", ""),
        template=options.get("template", ""),
    )
