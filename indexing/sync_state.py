"""What the last sync of a source found, and what this one finds: tables on disk, of which little is in memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from indexing.connectors.base import Listed

_FORMAT = "1"
_PAGE = 1024

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (item TEXT PRIMARY KEY, fingerprint TEXT, mark TEXT, acl TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (item TEXT, document TEXT, digest TEXT,
                                      PRIMARY KEY (item, document)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holders ON documents (document);
CREATE INDEX IF NOT EXISTS digests ON documents (item, digest);
CREATE TABLE IF NOT EXISTS listed (item TEXT PRIMARY KEY, fingerprint TEXT, acl TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forced (item TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (item TEXT PRIMARY KEY, fingerprint TEXT, mark TEXT, acl TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS found (item TEXT, document TEXT, digest TEXT, made INTEGER,
                                  PRIMARY KEY (item, document)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS found_holders ON found (document);
"""
_OF_ONE_SYNC = ("listed", "forced", "done", "found")

# In parentheses, for SQLite combines SELECTs from left to right.
_GONE_ITEMS = "SELECT item FROM (SELECT item FROM items EXCEPT SELECT item FROM listed)"
_LEFT = f"""SELECT d.item, d.document FROM documents d LEFT JOIN found f USING (item, document)
            WHERE f.item IS NULL AND d.item IN (SELECT item FROM done UNION {_GONE_ITEMS})"""
"""Documents that the thing they were read from does not hold any more."""

_HELD = f"""SELECT document FROM found UNION
            SELECT document FROM documents WHERE item NOT IN (SELECT item FROM done UNION {_GONE_ITEMS})"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Documents of a source: what a sync did with them."""

    added: int
    changed: int
    deleted: int
    unchanged: int


class SyncState:
    """The state of one source. What a sync notes shows in the next one only after ``apply``.

    A document is known by the thing it was read from, its id, and the digest of what it was made from.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        # After a loss of power the state may be an older one, and the next sync does something twice.
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = FILE;")
        self._db.executescript(_TABLES)
        for table in _OF_ONE_SYNC:
            self._db.execute(f"DELETE FROM {table}")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes made within are written together, which is a hundred times faster."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def made_as(self, how: str) -> None:
        """Everything counts as changed when it was last made in another way than ``how``."""
        how = f"{_FORMAT} {how}"
        if self._fact("how") != how:
            with self.noting():
                self._db.execute("UPDATE items SET fingerprint = NULL")
                self._db.execute("UPDATE documents SET digest = ''")
                self._db.execute("INSERT OR REPLACE INTO facts VALUES ('how', ?)", (how,))

    def list_all(self, listed: Iterable[Listed]) -> int:
        """Note what there is; returns how many things."""
        with self.noting():
            self._db.executemany(
                "INSERT OR REPLACE INTO listed VALUES (?, ?, ?)",
                ((each.item, each.fingerprint, json.dumps(each.acl)) for each in listed),
            )
        return self._count("SELECT count(*) FROM listed")

    def documents(self) -> Iterator[list[str]]:
        """Ids of all documents that the last sync left, some at a time."""
        last = ""
        while True:
            query = "SELECT DISTINCT document FROM documents WHERE document > ? ORDER BY document LIMIT ?"
            rows = [row[0] for row in self._db.execute(query, (last, _PAGE))]
            if not rows:
                return
            yield rows
            last = rows[-1]

    def missing(self, documents: Sequence[str]) -> None:
        """These are not there any more, by whomever they were removed: what held them is read again."""
        with self.noting():
            for document in documents:
                self._db.execute(
                    "INSERT OR IGNORE INTO forced SELECT item FROM documents WHERE document = ?", (document,)
                )
                self._db.execute("UPDATE documents SET digest = '' WHERE document = ?", (document,))

    def todo(self) -> Iterator[tuple[Listed, str]]:
        """Things to fetch, in order, each with the mark of its last fetch; the mark is empty where that one is void."""
        last = ""
        while True:
            query = """
                SELECT l.item, l.fingerprint, l.acl, coalesce(i.mark, ''), i.acl = l.acl AND f.item IS NULL
                FROM listed l LEFT JOIN items i USING (item) LEFT JOIN forced f USING (item)
                     LEFT JOIN done n USING (item)
                WHERE l.item > ? AND n.item IS NULL AND (f.item IS NOT NULL OR i.item IS NULL OR i.fingerprint IS NULL
                      OR l.fingerprint = '' OR l.fingerprint <> i.fingerprint OR l.acl <> i.acl)
                ORDER BY l.item LIMIT ?"""
            rows = self._db.execute(query, (last, _PAGE)).fetchall()
            if not rows:
                return
            for item, fingerprint, acl, mark, valid in rows:
                yield Listed(item, fingerprint, tuple(json.loads(acl))), mark if valid else ""
            last = rows[-1][0]

    def known(self, item: str, digest: str) -> list[str]:
        """Ids of the documents of this thing that were made from what has this digest."""
        query = "SELECT document FROM documents WHERE item = ? AND digest = ?"
        return [row[0] for row in self._db.execute(query, (item, digest))]

    def found(self, item: str, document: str, digest: str, *, made: bool) -> None:
        """The thing holds this document; ``made`` when it was made anew."""
        self._db.execute("INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?)", (item, document, digest, made))

    def done(self, listed: Listed, mark: str) -> None:
        """All that the thing holds is told to ``found``, or will be before ``apply``."""
        row = (listed.item, listed.fingerprint, mark, json.dumps(listed.acl))
        self._db.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)", row)

    def force_other_holders(self) -> bool:
        """A document that one thing holds no longer, another may hold still: read that again. False when none does."""
        query = f"""SELECT d.item, d.document FROM documents d JOIN ({_LEFT}) l ON l.document = d.document
                    WHERE d.item NOT IN (SELECT item FROM done UNION {_GONE_ITEMS})"""
        with self.noting():
            rows = self._db.execute(query).fetchall()
            for item, document in rows:
                self._db.execute("INSERT OR IGNORE INTO forced VALUES (?)", (item,))
                self._db.execute("UPDATE documents SET digest = '' WHERE (item, document) = (?, ?)", (item, document))
        return bool(rows)

    def to_delete(self) -> list[str]:
        """Ids of the documents that the source holds no longer, sorted."""
        left = f"SELECT DISTINCT document FROM ({_LEFT}) EXCEPT SELECT document FROM ({_HELD})"
        return sorted(row[0] for row in self._db.execute(left))

    def counts(self) -> Counts:
        made = "SELECT DISTINCT document FROM found WHERE made"
        before = "SELECT DISTINCT document FROM documents"
        changed = self._count(f"SELECT count(*) FROM ({made} INTERSECT {before})")
        deleted = len(self.to_delete())
        known = self._count(f"SELECT count(*) FROM ({before})")
        added = self._count(f"SELECT count(*) FROM ({made} EXCEPT {before})")
        return Counts(added, changed, deleted, known - changed - deleted)

    def apply(self) -> None:
        """Let what was found be what is known, in one step."""
        with self.noting():
            for table in ("documents", "items"):
                self._db.execute(f"DELETE FROM {table} WHERE item IN (SELECT item FROM done UNION {_GONE_ITEMS})")
            self._db.execute("INSERT OR REPLACE INTO items SELECT * FROM done")
            self._db.execute("INSERT OR REPLACE INTO documents SELECT item, document, digest FROM found")
            for table in _OF_ONE_SYNC:
                self._db.execute(f"DELETE FROM {table}")

    def _fact(self, name: str) -> str:
        with closing(self._db.execute("SELECT value FROM facts WHERE name = ?", (name,))) as rows:
            row = rows.fetchone()
        return "" if row is None else str(row[0])

    def _count(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])
