"""Who may see what a source holds: `.riddle-acl` files in its folders, and rules given beside it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from retrieval.errors import InvalidRequest, Unavailable

ACL_FILE = ".riddle-acl"
"""One principal a line, remarks after ``#``; for its folder and all below, the nearest file deciding alone."""

PUBLIC = "public"
"""The principal that every caller has."""

MAX_PRINCIPAL = 256


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Names that match ``pattern`` may be seen by ``principals`` alone. ``*`` in a pattern also matches ``/``."""

    pattern: str
    principals: tuple[str, ...]


def parse_rule(text: str) -> AccessRule:
    """Read ``PATTERN=PRINCIPAL,PRINCIPAL``, such as ``handbook/*=group:eng``. Raises InvalidRequest."""
    pattern, sign, principals = text.rpartition("=")
    if not sign or not pattern.strip():
        raise InvalidRequest(f"cannot read the access rule {text!r}: write PATTERN=PRINCIPAL,PRINCIPAL")
    return AccessRule(pattern.strip(), parse_principals(principals.split(","), f"the access rule {text!r}"))


def parse_principals(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Principals, sorted, each once.

    Raises InvalidRequest when there is none, for no principal would open what was meant to be closed,
    and when one holds white space or is over 256 characters long.
    """
    found = sorted({name.strip() for name in names} - {""})
    if not found:
        raise InvalidRequest(f"{where} names no principal; write {PUBLIC} where everybody may see it")
    for name in found:
        if len(name) > MAX_PRINCIPAL or any(sign.isspace() for sign in name):
            raise InvalidRequest(f"{where}: {name[:80]!r} is no principal: write one such as group:eng a line")
    return tuple(found)


class FolderAccess:
    """The principals of the files below one folder; each `.riddle-acl` is read once, those above the folder too."""

    def __init__(self, root: Path, rules: Sequence[AccessRule] = ()) -> None:
        self._root = root
        self._rules = rules
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, name: str) -> tuple[str, ...]:
        """Principals of the file ``name`` (its path below the folder): of the first rule that matches, else of the
        nearest `.riddle-acl`; empty, which is everybody, without either. Raises InvalidRequest, Unavailable.
        """
        ruled = ruled_by(self._rules, name)
        return self._of_folder(PurePosixPath(name).parent.as_posix()) if ruled is None else ruled

    def _of_folder(self, folder: str) -> tuple[str, ...]:
        known = self._known.get(folder)
        if known is None:
            known = self._read(self._root / folder / ACL_FILE)
            if known is None:
                top = folder in ("", ".")
                known = self._above() if top else self._of_folder(PurePosixPath(folder).parent.as_posix())
            self._known[folder] = known
        return known

    def _above(self) -> tuple[str, ...]:
        found = (self._read(folder / ACL_FILE) for folder in self._root.resolve().parents)
        return next((principals for principals in found if principals is not None), ())

    def _read(self, path: Path) -> tuple[str, ...] | None:
        """What cannot be read stops everything: going on would open what it closes."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{path} is not UTF-8: write one principal a line") from error
        except OSError as error:
            raise Unavailable(
                f"{path} cannot be read ({error.strerror}), so it is not known who may see what is there",
                stage="sources",
            ) from error
        return parse_principals((line for line in lines if not line.lstrip().startswith("#")), str(path))


def ruled_by(rules: Sequence[AccessRule], name: str) -> tuple[str, ...] | None:
    """Principals of the first rule that matches ``name``; None when none does."""
    return next((rule.principals for rule in rules if fnmatch.fnmatchcase(name, rule.pattern)), None)
