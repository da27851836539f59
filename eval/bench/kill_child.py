"""The process that is killed: it writes, merges and builds by plan, and says on a pipe what was acknowledged.

``python -m eval.bench.kill_child ROOT SEED`` reads orders as lines of JSON, carries each out in a fork of its own (what
is killed is a whole process, and starting one costs nothing) and answers in lines of JSON. A line is shorter than
PIPE_BUF, so that a kill leaves the whole of it or nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.bench.kill_plan import ENCODER, content, marker, name, number_of, plan
from retrieval.batch import write_generation
from retrieval.collection import Collection
from retrieval.maintenance import Nothing, compact, maintain
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from retrieval.upkeep import verify

COLLECTION = "docs"
BATCH, BUILD = 16, 60
"""Most documents of a batch and of a build."""

STEPS = frozenset({"os.rename", "os.mkdir", "open", "shutil.rmtree", "os.remove", "os.rmdir", "os.truncate"})
"""Steps of a write that the interpreter announces before it takes them."""

PUBLISHING = ("/CURRENT", "/.CURRENT", "/generations")
"""Parts of the paths that publishing touches."""


def say(**line: object) -> None:
    """One line to the parent, in one write."""
    os.write(1, json.dumps(line, separators=(",", ":")).encode() + b"\n")


def collection_of(root: Path) -> Collection:
    store = CollectionStore(root, Nothing())
    if COLLECTION in store.names():
        return store.open(COLLECTION)
    return store.create(COLLECTION, CollectionSettings(fields={"batch": "number"}), ENCODER)


def write(root: Path, seed: int, batches: Iterable[int]) -> None:
    """One batch after another, each announced before and acknowledged after; every third ends a live block."""
    collection = collection_of(root)
    for batch in batches:
        changes = plan(seed, batch, largest=BATCH).changes
        say(begin=batch, largest=BATCH)
        outcomes = collection.write(changes)
        say(ack=batch, refused=[each.document_id for each in outcomes if each.status == 409])
        if batch % 3 == 0:
            with collection.appending():
                collection.freeze()


def build(root: Path, seed: int, batch: int) -> None:
    planned = plan(seed, batch, largest=BUILD)
    say(begin=batch, largest=BUILD)
    gone = [name(number) for number in planned.deletes]
    write_generation(
        CollectionStore(root, Nothing()), COLLECTION, planned.parts(), encoder=ENCODER, key=f"batch{batch}", delete=gone
    )
    say(ack=batch, refused=[])


def carry_out(order: Mapping[str, Any], root: Path, seed: int) -> None:
    what, batches = order["do"], order.get("batches", ())
    if what == "write":
        write(root, seed, batches)
    elif what == "merge":
        for batch in batches:
            write(root, seed, [batch])
            maintain(collection_of(root))
        compact(collection_of(root))
    elif what == "build":
        for batch in batches:
            build(root, seed, batch)
    elif what == "look":
        say(**look(root, order["gone"]))


def look(root: Path, gone: Iterable[tuple[int, int]]) -> dict[str, object]:
    """What the collection holds, ``{id: batch}``, and everything about it that is not as it should be."""
    store = CollectionStore(root, Nothing())
    if COLLECTION not in store.names():
        return {"state": {}, "problems": []}
    collection = store.open(COLLECTION)
    problems = [f"verify: {problem}" for problem in verify(collection).problems]
    snapshot = collection.snapshot()
    state, passages = {}, 0
    for document_id in [document.document_id for part in snapshot.parts() for document in part.documents]:
        stored = snapshot.document(document_id)
        batch = int(str(stored.metadata["batch"]))
        state[document_id] = batch
        planned, chunks, vectors = content(batch, number_of(document_id))
        passages += len(chunks)
        if (stored.text, stored.title, tuple(stored.acl)) != (planned.text, planned.title, planned.acl):
            problems.append(f"{document_id} is not as batch {batch} wrote it")
        found = snapshot.lexical(marker(batch, number_of(document_id)), 10).rows
        names = sorted(passage.passage_id for passage in snapshot.passages(found))
        if names != [f"{document_id}#{chunk.ordinal}" for chunk in chunks]:
            problems.append(f"{document_id} of batch {batch}: words find {names}, not its {len(chunks)} passages")
        near = snapshot.passages(snapshot.dense(vectors[0], 1).rows)
        if [passage.passage_id for passage in near] != [f"{document_id}#0"]:
            problems.append(f"{document_id} of batch {batch}: its vector finds {[each.passage_id for each in near]}")
    for batch, number in gone:
        found = snapshot.lexical(marker(batch, number), 10).rows
        if state.get(name(number)) != batch and len(found):
            problems.append(f"{name(number)} as batch {batch} wrote it was replaced or removed, and is found")
    if (counted := tuple(snapshot.count())) != (len(state), passages):
        problems.append(f"counts {counted} documents and passages, and {(len(state), passages)} are there")
    return {"state": state, "problems": problems}


@dataclass
class Steps:
    """Counts what this process does below ``root``, and kills its group before a step of the number given."""

    root: str
    die_at: int
    only_publishing: bool
    taken: int = 0
    publishing: int = 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in STEPS or self.root not in (path := str(arguments[0])):
            return
        publishes = any(part in path for part in PUBLISHING)
        if self.die_at == (self.publishing if self.only_publishing else self.taken) and (
            publishes or not self.only_publishing
        ):
            os.killpg(0, signal.SIGKILL)
        self.taken += 1
        self.publishing += publishes


def merging_beside(root: Path) -> int:
    """A second process of the same group that seals and merges until the first one ends, and is killed with it."""
    if child := os.fork():
        return child
    try:
        while True:
            maintain(collection_of(root))
            time.sleep(0.02)
    except BaseException as error:  # a fork must not go on in its parent's frames  # noqa: BLE001
        say(beside=f"{type(error).__name__}: {error}")
    os._exit(0)


def in_fork(order: Mapping[str, Any], root: Path, seed: int) -> int:
    """The exit status of a forked process group that carries it out: -9 when it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        os.setsid()
        say(group=os.getpid())
        beside = merging_beside(root) if order.get("beside") else 0
        steps = Steps(str(root), order.get("step", -1), order.get("publishing", False))
        if "step" in order:
            sys.addaudithook(steps)
        carry_out(order, root, seed)
        if beside:
            os.kill(beside, signal.SIGKILL)
        if "step" in order:
            say(steps=steps.taken, publishing=steps.publishing)
    except BaseException as error:  # the server must go on  # noqa: BLE001
        say(error=f"{type(error).__name__}: {error}"[:2000])
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Warm up once, then carry out orders until standard input ends."""
    root, seed = Path(sys.argv[1]), int(sys.argv[2])
    from retrieval.analysis import analyse

    analyse("数据库")  # loads the dictionary once, not in every fork
    say(ready=True)
    for line in sys.stdin:
        say(ended=in_fork(json.loads(line), root, seed))


if __name__ == "__main__":
    main()
