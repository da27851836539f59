"""Walks a person through drafts: accept, edit, reject, one key each; what was decided is on disk at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from eval.drafts import Draft, read_drafts, write_drafts

KEYS = "a accept · e edit · r reject · s later · q quit"

Key = Callable[[], str]
"""The next key; empty when there are no more, which quits."""
Line = Callable[[str], str]
"""Asks for one line; empty keeps what is there."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """How many drafts the file holds of each status."""

    accepted: int
    rejected: int
    left: int


def review(path: Path, key: Key, line: Line, say: Say) -> Reviewed:
    """Show each draft that is undecided and carry out what the person says; begun again, it goes on where it was."""
    drafts = read_drafts(path)
    waiting = [place for place, each in enumerate(drafts) if each.status == "draft"]
    for number, place in enumerate(waiting, 1):
        say(f"\n{number} of {len(waiting)}\n{shown(drafts[place])}\n{KEYS}")
        decided = _decided(drafts[place], key, line, say)
        if decided is None:
            break
        if decided is not drafts[place]:
            drafts[place] = decided
            write_drafts(path, drafts)
    count = [sum(each.status == status for each in drafts) for status in ("accepted", "rejected", "draft")]
    return Reviewed(*count)


def shown(draft: Draft) -> str:
    """A draft as text for people."""
    found = "not found by today's search" if draft.rank is None else f"today's search has it at rank {draft.rank}"
    evidence = " ".join(draft.evidence.split())
    return (
        f"  question  {draft.question}\n  answer    {'; '.join(draft.answers)}\n  evidence  {evidence}\n"
        f"  from      {draft.title or draft.document_id} ({draft.passage_id}), by {draft.by}; {found}"
    )


def _decided(draft: Draft, key: Key, line: Line, say: Say) -> Draft | None:
    """The draft as it is now; the same object when it is left for later, None when the person quits."""
    while True:
        match key().lower():
            case "a":
                return replace(draft, status="accepted")
            case "r":
                return replace(draft, status="rejected")
            case "s":
                return draft
            case "e":
                question = line(f"question [{draft.question}]: ").strip() or draft.question
                answer = line(f"answer [{'; '.join(draft.answers)}]: ").strip()
                answers = (answer,) if answer else draft.answers
                changed = (question, answers) != (draft.question, draft.answers)
                # The rank was that of another wording.
                rank = draft.rank if question == draft.question else None
                return replace(draft, question=question, answers=answers, rank=rank, status="accepted", edited=changed)
            case "q" | "":
                return None
            case other:
                say(f"{other!r} is none of: {KEYS}")
