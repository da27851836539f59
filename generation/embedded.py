"""A small chat model in this process: loaded once, one reply at a time, stopped between two tokens."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from generation.engine import Message
from generation.events import Usage
from generation.weights import loadable_folder
from retrieval.errors import GenerationFailed, Overloaded, RiddleError, Unavailable
from retrieval.models import ModelFiles

STAGE = "generation"

Emit = Callable[[str | Usage | RiddleError | None], None]
"""Takes what the generating thread has to say; None is the end."""


@dataclass(frozen=True, slots=True)
class EmbeddedOptions:
    """How far the model reads and writes.

    ``prompt_tokens`` decides when the first delta comes: two AVX2 cores read some 450 tokens a second.
    """

    prompt_tokens: int = 560
    max_tokens: int = 120
    waiting: int = 3
    """Replies that may wait for the one being made; more are refused."""
    threads: int = 0
    """Threads that read the prompt; 0 takes every core. Writing, which waits for memory, takes half of them."""
    languages: tuple[str, ...] = ()
    """Overrides the languages that the model's files name."""


class EmbeddedModel:
    """A generator of ``retrieval.models`` run by transformers in a thread of its own.

    Loads on the first use, or in ``warm_up``. Close it when done: a reply in the making then stops.
    """

    def __init__(self, files: ModelFiles, options: EmbeddedOptions | None = None) -> None:
        self._files = files
        self._options = options or EmbeddedOptions()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")
        self._loading = threading.Lock()
        self._counting = threading.Lock()
        self._loaded: _Loaded | None = None
        self._closed = threading.Event()
        self._queued = 0

    @property
    def name(self) -> str:
        return self._files.name

    @property
    def languages(self) -> tuple[str, ...]:
        return self._options.languages or self._files.languages

    @property
    def prompt_tokens(self) -> int:
        return self._options.prompt_tokens

    def count(self, text: str) -> int:
        return self._model().count(text)

    def warm_up(self) -> None:
        """Load the weights and run them once. Blocks for a second, for most of a minute the very first time.

        Raises ModelMissing, and Unavailable when the model is closed meanwhile.
        """
        model = self._model()
        hello = (Message("user", "Hello"),)
        try:
            self._worker.submit(model.reply, hello, 1, threading.Event(), lambda _: None).result()
        except (RuntimeError, CancelledError) as error:
            if not self._closed.is_set():
                raise
            raise Unavailable("the answering model is shut down", stage=STAGE) from error

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str | Usage, None]:
        """Pieces of the reply; the thread behind it stops at the next token when the consumer leaves."""
        if self._closed.is_set():
            raise Unavailable("the answering model is shut down", stage=STAGE)
        self._enqueue()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[str | Usage | RiddleError | None] = asyncio.Queue()
        stop = threading.Event()

        def emit(piece: str | Usage | RiddleError | None) -> None:
            if not (stop.is_set() or loop.is_closed()):
                loop.call_soon_threadsafe(arrived.put_nowait, piece)

        job = self._worker.submit(self._run, tuple(messages), stop, emit)
        job.add_done_callback(lambda _: self._dequeue())
        try:
            while (piece := await arrived.get()) is not None:
                if isinstance(piece, RiddleError):
                    raise piece
                yield piece
        finally:
            stop.set()
            job.cancel()

    @property
    def tokens_written(self) -> int:
        """By all replies since the model was loaded; what a reply wrote after its consumer left counts too."""
        return self._loaded.written if self._loaded else 0

    async def ready(self) -> str:
        return "ok" if self._loaded is not None else "the model is not loaded yet"

    def close(self) -> None:
        """Stop the reply in the making, refuse further ones, and wait for the thread."""
        self._closed.set()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _enqueue(self) -> None:
        with self._counting:
            if self._queued > self._options.waiting:
                raise Overloaded(f"{self._queued} answers wait for {self.name}", stage=STAGE, retry_after_ms=5000)
            self._queued += 1

    def _dequeue(self) -> None:
        with self._counting:
            self._queued -= 1

    def _run(self, messages: tuple[Message, ...], stop: threading.Event, emit: Emit) -> None:
        try:
            if not stop.is_set():
                emit(self._model().reply(messages, self._options.max_tokens, _Either(stop, self._closed), emit))
            emit(Unavailable("the answering model is shut down", stage=STAGE) if self._closed.is_set() else None)
        except RiddleError as error:
            emit(error)
        except (RuntimeError, ValueError, OSError, MemoryError) as error:  # torch raises RuntimeError for most
            emit(GenerationFailed(f"{self.name} failed: {error}", stage=STAGE))

    def _model(self) -> _Loaded:
        with self._loading:
            if self._loaded is None:
                self._loaded = _Loaded(self._files, self._options.threads)
            return self._loaded


@dataclass(frozen=True, slots=True)
class _Either:
    first: threading.Event
    second: threading.Event

    def is_set(self) -> bool:
        return self.first.is_set() or self.second.is_set()


class _Loaded:
    """Weights and tokenizer in memory. ``reply`` is for one thread at a time, ``count`` for any."""

    def __init__(self, files: ModelFiles, threads: int) -> None:
        folder = loadable_folder(files)  # a missing model is told before seconds of imports

        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self._torch = torch
        self._threads = threads or torch.get_num_threads()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self._model.eval()
        self.written = 0
        self._head: tuple[list[int], Any] = ([], None)
        """Token ids of the last system text and its keys and values, which need not be computed again."""

    def count(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def reply(self, messages: tuple[Message, ...], most: int, stop: _Either | threading.Event, emit: Emit) -> Usage:
        """Greedy decoding into ``emit``, at most ``most`` tokens; stops when ``stop`` is set or it begins to repeat."""
        torch = self._torch
        torch.set_num_threads(self._threads)
        ids = self._ids(messages, ask=True)
        written = _Written(self._tokenizer, emit)

        def done(tokens: Any, scores: Any) -> Any:
            torch.set_num_threads(max(1, self._threads // 2))  # asked after each token, so after the prompt
            self.written += 1
            over = stop.is_set() or written.repeats()
            return torch.full((tokens.shape[0],), over, dtype=torch.bool)

        prompt = torch.tensor([ids])
        with torch.inference_mode():
            self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                past_key_values=self._head_of(messages, ids),
                max_new_tokens=most,
                do_sample=False,
                streamer=written,
                stopping_criteria=[done],
                eos_token_id=self._tokenizer.eos_token_id,
                pad_token_id=self._tokenizer.eos_token_id,
            )
        return Usage(len(ids), len(written.ids))

    def _ids(self, messages: Sequence[Message], *, ask: bool) -> list[int]:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=ask, tokenize=False)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _head_of(self, messages: Sequence[Message], ids: list[int]) -> Any:
        """Keys and values of the system text, which is the same for every question; None without one."""
        if messages[0].role != "system":
            return None
        head = self._ids(messages[:1], ask=False)
        if ids[: len(head)] != head:
            return None
        if self._head[0] != head:
            computed = self._model(self._torch.tensor([head]), use_cache=True).past_key_values
            self._head = (head, computed)
        return copy.deepcopy(self._head[1])


class _Written:
    """The streamer that ``generate`` hands tokens to: decodes them and passes whole characters on."""

    LOOP = 12
    """The reply repeats itself once its last so many tokens have occurred in it before."""

    def __init__(self, tokenizer: Any, emit: Emit) -> None:
        self.ids: list[int] = []
        self._tokenizer = tokenizer
        self._emit = emit
        self._emitted = 0
        self._prompt_seen = False

    def put(self, tokens: Any) -> None:
        """``generate`` calls this with the prompt first, then with each token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.ids.extend(int(token) for token in tokens.flatten().tolist())
        text = self._tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if not text.endswith("\ufffd") and len(text) > self._emitted:  # half a character waits for its rest
            self._emit(text[self._emitted :])
            self._emitted = len(text)

    def end(self) -> None:
        """Nothing is held back but half a character, and that stays."""

    def repeats(self) -> bool:
        if len(self.ids) < 2 * self.LOOP:
            return False
        tail = self.ids[-self.LOOP :]
        return any(self.ids[i : i + self.LOOP] == tail for i in range(len(self.ids) - 2 * self.LOOP + 1))
