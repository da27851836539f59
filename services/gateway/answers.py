"""How an answer leaves: as server-sent events while it is written, or whole, and not at all once the client is gone."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Literal, Protocol

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Send

from generation.events import Citation, Delta, Event, FinalAnswer
from retrieval.errors import GenerationFailed, Overloaded, RiddleError
from retrieval.types import Candidate
from services.gateway.search import Found
from services.http import problem_of
from services.leaving import ClientLeft as ClientLeft  # the recorder looks for it here
from services.telemetry import Telemetry
from services.wire import AnswerResponse, FinalAnswerEvent, WireCitation

log = logging.getLogger("riddle.answers")

EVENT_STREAM = "text/event-stream"

Outcome = Literal["answered", "abstained", "failed", "left"]
"""How an answer ended; ``left``: its client went first."""

Heard = Callable[[Outcome, FinalAnswer | None], None]
"""Told once how an answer ended, before its last event leaves."""


def _nobody(_: Outcome, __: FinalAnswer | None) -> None:
    """Who is told when nobody wants to know."""


class AnswerPort(Protocol):
    """Writes answers: ``generation.answer.Answerer``, or a fake."""

    def answer(self, question: str, candidates: tuple[Candidate, ...]) -> AsyncGenerator[Event, None]:
        """Closing the generator stops the engine behind it."""
        ...


class Answers:
    """Streams answers over what was found; at most ``most`` at once, the next is refused."""

    def __init__(self, answerer: AnswerPort, telemetry: Telemetry, most: int = 32) -> None:
        self._answerer = answerer
        self._telemetry = telemetry
        self._most = most
        self._running = 0

    def admit(self) -> None:
        """Raises Overloaded when no more answers can be written now; asked before a stream opens."""
        if self._running >= self._most:
            raise Overloaded("too many answers are being written", stage="generation", retry_after_ms=2000)

    async def stream(
        self, question: str, found: Found, *, explain: bool, request_id: str, heard: Heard = _nobody
    ) -> AsyncGenerator[bytes]:
        """The events of the answer; a failure on the way is the last of them."""
        yield sse("search_results", found.event(explain=explain))
        try:
            async with aclosing(self.events(question, found, heard)) as events:
                async for event in events:
                    yield _as_sse(event, found)
        except RiddleError as error:
            log.warning("an answer broke off: %s", error.detail)
            yield sse("error", problem_of(error, request_id))

    async def whole(self, question: str, found: Found, *, explain: bool, heard: Heard = _nobody) -> AnswerResponse:
        """Raises GenerationFailed or Unavailable."""
        final: FinalAnswer | None = None
        async with aclosing(self.events(question, found, heard)) as events:
            async for event in events:
                if isinstance(event, FinalAnswer):
                    final = event
        if final is None:
            raise GenerationFailed("the answer ended before it was complete", stage="generation")
        account = FinalAnswerEvent.of(final, found.timings_ms, found.degraded)
        return AnswerResponse(
            **dict(account),
            generation=found.generation,
            results=found.results(explain=explain),
            correction=found.correction(),
        )

    async def events(self, question: str, found: Found, heard: Heard = _nobody) -> AsyncGenerator[Event]:
        """What the answerer says, counted. Raises Overloaded, GenerationFailed, Unavailable."""
        self.admit()
        self._running += 1
        self._telemetry.answer_began()
        outcome: Outcome = "left"
        try:
            async with aclosing(self._answerer.answer(question, found.page.candidates)) as events:
                async for event in events:
                    if isinstance(event, FinalAnswer):
                        outcome = "abstained" if event.abstained else "answered"
                        for stage, milliseconds in event.timings_ms.items():
                            self._telemetry.observe_stage(f"answer_{stage}", milliseconds)
                        heard(outcome, event)
                    yield event
        except RiddleError:
            outcome = "failed"
            raise
        finally:
            self._running -= 1
            self._telemetry.answer_ended(outcome)
            if outcome in ("failed", "left"):
                heard(outcome, None)


def sse(event: str, data: BaseModel) -> bytes:
    """One server-sent event. JSON escapes line ends, so that the data is one line."""
    return f"event: {event}\ndata: {data.model_dump_json(exclude_none=event == 'error')}\n\n".encode()


class _Piece(BaseModel):
    delta: str


def _as_sse(event: Event, found: Found) -> bytes:
    match event:
        case Delta(text):
            return sse("message", _Piece(delta=text))
        case Citation():
            return sse("citation", WireCitation.of(event))
        case FinalAnswer():
            return sse("final_answer", FinalAnswerEvent.of(event, found.timings_ms, found.degraded))


class EventStream(StreamingResponse):
    """Server-sent events that are closed at once when the client goes, also while one is being sent."""

    def __init__(self, events: AsyncGenerator[bytes], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})
        self.raw_headers.append((b"content-type", EVENT_STREAM.encode()))
        self._events = events

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._events):
            await super().stream_response(send)
