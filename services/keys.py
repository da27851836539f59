"""API keys: who holds one, what it may see and whether it may write; only hashes of them are kept on disk."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from retrieval.durable import exclusive, replace_json
from retrieval.errors import InvalidRequest, Unavailable

FILE_NAME = "keys.json"
"""In the home folder. Once it exists a key is needed, even when the last one in it was revoked."""

PUBLIC = "public"
"""The principal that every caller has."""

PRINCIPAL = r"[^\x00-\x20\x7f-\xa0,]{1,128}"
"""What a principal looks like: ``group:eng``, ``user:ada@example.org``."""

_FORMAT = 1
_TOKEN = re.compile(r"rk_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key as the file keeps it. ``sha256`` is of the whole token, whose 256 random bits need no salt."""

    id: str
    sha256: str
    principals: tuple[str, ...]
    write: bool
    created: str
    """ISO 8601, UTC."""
    label: str = ""


class KeyRing:
    """The keys in one file. Thread-safe; what other processes write into it counts from the next look-up on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: tuple[tuple[int, int, int], Mapping[str, Key]] | None = None

    @property
    def exists(self) -> bool:
        """Whether a key is needed at all."""
        return self._stamp() is not None

    def keys(self) -> tuple[Key, ...]:
        """All keys, oldest first. Raises Unavailable when the file cannot be read."""
        return tuple(self._read().values())

    def find(self, token: str) -> Key | None:
        """The key that ``token`` is; None when it is none. Raises Unavailable when the file cannot be read.

        The public part of the token names the key, and the hashes are compared in constant time, so
        that how long a refusal takes tells nothing of a hash.
        """
        held, shape = self._read(), _TOKEN.fullmatch(token)
        key = held.get(shape.group(1)) if shape else None
        same = hmac.compare_digest(_digest(token), key.sha256 if key else "0" * 64)
        return key if same else None

    def create(self, principals: Sequence[str], *, write: bool = False, label: str = "") -> tuple[Key, str]:
        """A new key and its token, which is nowhere kept. Raises InvalidRequest for what is no principal."""
        for each in principals:
            if not re.fullmatch(PRINCIPAL, each):
                raise InvalidRequest(
                    f"{each!r} is no principal: write 1 to 128 characters without blanks and commas, such as group:eng"
                )
        with self._writing():
            held = dict(self._read())
            number = next(number for number in iter(lambda: secrets.token_hex(4), "") if number not in held)
            token = f"rk_{number}_{secrets.token_urlsafe(32)}"
            created = datetime.now(UTC).isoformat(timespec="seconds")
            key = Key(number, _digest(token), tuple(sorted({*principals} - {PUBLIC})), write, created, label)
            self._write({**held, number: key})
        return key, token

    def revoke(self, key_id: str) -> Key:
        """Remove a key; it is refused from the next request on. Raises InvalidRequest for one that is not there."""
        with self._writing():
            held = dict(self._read())
            if key_id not in held:
                known = ", ".join(held) or "none"
                raise InvalidRequest(f"no key has the id {key_id!r}; there are: {known}")
            key = held.pop(key_id)
            self._write(held)
        return key

    def _read(self) -> Mapping[str, Key]:
        """Read anew only when the file is another one than last time."""
        stamp = self._stamp()
        if stamp is None:
            return {}
        held = self._held
        if held is None or held[0] != stamp:
            held = self._held = (stamp, self._parsed())
        return held[1]

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def _parsed(self) -> dict[str, Key]:
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
            if told["format"] != _FORMAT:
                raise self._unreadable(f"it is of format {told['format']}, and this version reads {_FORMAT}")
            keys = [Key(**{**each, "principals": tuple(each["principals"])}) for each in told["keys"]]
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        except (ValueError, TypeError, KeyError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from error
        return {key.id: key for key in keys}

    def _unreadable(self, reason: str) -> Unavailable:
        return Unavailable(
            f"the file of keys {self.path.name} cannot be read, so nobody is let in: {reason}", stage="keys"
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with exclusive(self.path.with_name(f".{self.path.name}.lock"), "the keys are being changed by someone else"):
            yield

    def _write(self, keys: Mapping[str, Key]) -> None:
        replace_json(self.path, {"format": _FORMAT, "keys": [asdict(key) for key in keys.values()]})
        self.path.chmod(0o600)


def key_ring(home: Path) -> KeyRing:
    """The API keys of a home folder."""
    return KeyRing(home / FILE_NAME)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()
