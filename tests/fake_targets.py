"""A search and answer service of fixed rankings, for tests of what measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eval.stages import rankings_of
from eval.targets import Answered, Cited, Searched, Shown
from retrieval.errors import Unavailable


class FakeTarget:
    """Ranks by a table; ``before`` is called with each question and may raise. Counts what it is asked."""

    def __init__(
        self,
        rankings: Mapping[str, Sequence[str]],
        answers: Mapping[str, str] | None = None,
        before: Callable[[str], None] = lambda question: None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._rankings, self._answers, self._before = rankings, answers or {}, before
        self._about = about or {"kind": "fake"}
        self.asked: list[str] = []

    def describe(self) -> Mapping[str, Any]:
        return self._about

    def search(self, query: str, k: int) -> Searched:
        self.asked.append(query)
        self._before(query)
        shown = self._shown(query)[:k]
        return Searched(rankings_of(shown), shown, {"lexical": 2.0, "total": 3.0, "client": 4.0}, "docs@1", "miss")

    def answer(self, question: str) -> Answered:
        self.asked.append(question)
        self._before(question)
        text = self._answers.get(question)
        if text is None:
            raise Unavailable("no engine is there")
        shown = self._shown(question)
        cited = (Cited((0, len(text)), shown[0].passage_id, shown[0].document_id, shown[0].text),) if shown else ()
        return Answered(text, not shown, cited, shown, {"first_delta": 5.0, "total": 9.0, "client_first": 6.0}, "fake")

    def _shown(self, query: str) -> tuple[Shown, ...]:
        """The dense stage saw them in this order; the lexical stage the other way round, without the first."""
        found = self._rankings.get(query, ())
        return tuple(
            Shown(
                f"{name}#0",
                name,
                1 / rank,
                f"The text of {name}.",
                stages={"dense": (rank, 1 / rank)}
                | ({"lexical": (len(found) - rank + 1, float(rank))} if rank > 1 else {}),
            )
            for rank, name in enumerate(found, 1)
        )
