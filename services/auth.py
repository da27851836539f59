"""Who asks: a request's key and nothing else in it decides what it may see, and whether it may write."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends
from starlette.requests import Request

from retrieval.errors import Forbidden, SettingsError, Unauthorized
from services.keys import PUBLIC, KeyRing
from services.ports import Rights

CALLER = "caller"
"""Where a request's state keeps its Caller."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``key_id`` is for the log; empty for everybody on a server without keys."""

    rights: Rights = field(default_factory=Rights)
    may_write: bool = False
    key_id: str = ""


class Doorkeeper(Protocol):
    """Lets a request in by its headers, or raises Unauthorized."""

    def admit(self, headers: Mapping[str, str]) -> Caller: ...


class KeyDoor:
    """Asks for a key as soon as there is a file of keys; without one, everybody on this machine is let in to write.

    ``exposed``: the server listens on more than the loopback. Then nobody comes in without a key,
    also when the file of keys is removed while it runs.
    """

    def __init__(self, ring: KeyRing, *, exposed: bool) -> None:
        self._ring = ring
        self._exposed = exposed

    def admit(self, headers: Mapping[str, str]) -> Caller:
        """``headers`` by lower-case names. Raises Unauthorized; Unavailable when the keys cannot be read."""
        if not self._exposed and not self._ring.exists:
            return Caller(may_write=True)
        key = self._ring.find(presented(headers))
        if key is None:
            raise Unauthorized(
                "send an API key that is in force, as `Authorization: Bearer KEY` or `X-API-Key: KEY`; "
                "`riddle keys create` makes one"
            )
        return Caller(rights_of(key.principals), key.write, key.id)


class TokenDoor:
    """Lets in who shows the secret that our own services share: to recall, rank and embed, which believe a gateway."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def admit(self, headers: Mapping[str, str]) -> Caller:
        if not hmac.compare_digest(presented(headers).encode("latin-1", "replace"), self._token):
            raise Unauthorized("this service answers those alone that share its `services.token`")
        return Caller(may_write=True)


def token_door(token: str) -> TokenDoor | None:
    """The door of a service that is not a gateway; None, which is open, without a secret."""
    return TokenDoor(token) if token else None


def token_headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def rights_of(principals: tuple[str, ...]) -> Rights:
    """``principals``, and the one that everybody has."""
    return Rights(tuple(sorted({PUBLIC, *principals})))


def presented(headers: Mapping[str, str]) -> str:
    """The key that a request shows; empty when it shows none. A bearer token goes before ``X-API-Key``."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme:
        return token.strip() if scheme.lower() == "bearer" else ""
    return headers.get("x-api-key", "").strip()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``; a name other than ``localhost`` is taken to tell."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, ring: KeyRing) -> None:
    """Raises SettingsError when ``host`` can be reached from elsewhere and there is no key to ask for."""
    if is_loopback(host) or ring.keys():
        return
    raise SettingsError(
        f"server.host is {host}, which other machines reach, and there is no API key: make one with "
        "`riddle keys create --write`, or listen on 127.0.0.1"
    )


def caller_of(request: Request) -> Caller:
    """Who the middleware let in. A route that it does not stand before has no caller, and fails."""
    found = request.scope.get("state", {}).get(CALLER)
    if not isinstance(found, Caller):
        raise RuntimeError(f"nobody was admitted to {request.url.path}: the route lies outside the guarded paths")
    return found


def writer_of(request: Request) -> Caller:
    """The same, for routes that change something. Raises Forbidden."""
    caller = caller_of(request)
    if not caller.may_write:
        raise Forbidden("this key may read and not write; `riddle keys create --write` makes one that may")
    return caller


AnyCaller = Annotated[Caller, Depends(caller_of)]
Writer = Annotated[Caller, Depends(writer_of)]
