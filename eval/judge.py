"""An OpenAI-compatible server as a judge: asks for JSON of a given shape, and names what went wrong when none came."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from retrieval.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    import openai

T = TypeVar("T")

Form = Literal["schema", "json", "text"]
"""How the server is held to JSON: by a schema (vLLM, llama.cpp, Ollama, OpenAI), to any JSON, by the prompt alone."""

FORMS: tuple[Form, ...] = get_args(Form)

AWAY = "unreachable"
"""The kind of failure of a server that cannot be connected to."""

_REASONS = re.compile(r"(?:o[1-9]|gpt-(?:[5-9]|1[0-9]))(?:[-_.]|$)")
"""OpenAI's models that refuse ``max_tokens`` and any temperature but their own."""


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """Which judge to ask, and how."""

    url: str
    """Up to and with /v1, such as http://127.0.0.1:8000/v1."""
    model: str = ""
    """Empty only before ``served_judge`` has put in the first that the server lists."""
    api_key: str = field(default="", repr=False)
    temperature: float = 0.0
    """With 0, repeats show only what the server itself does differently."""
    timeout_s: float = 120.0
    max_tokens: int = 1024
    repeats: int = 1
    concurrency: int = 8
    """Judgements asked for at once."""
    retries: int = 2
    """How often a request is sent again when the server is busy, failing or away; never for what it answered."""
    form: Form = "schema"

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/\s]+", self.url):
            raise InvalidRequest(f"the judge's address must start with http:// or https://, not {self.url!r}")
        if min(self.repeats, self.concurrency, self.max_tokens) < 1 or self.timeout_s <= 0 or self.retries < 0:
            raise InvalidRequest("a judge needs repeats, concurrency, max_tokens and a timeout above 0")

    def id(self, prompts: str) -> str:
        """What judgements are filed under: model, a digest of address and sampling without the address, and prompts.

        Equal ids mean that what was calibrated is what judges.
        """
        asked = [self.url.rstrip("/"), self.temperature, self.max_tokens, self.form]
        return f"{self.model}@{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}/{prompts}"


def form_named(name: str) -> Form:
    """Raises InvalidRequest for another word than ``FORMS`` has."""
    for form in FORMS:
        if form == name:
            return form
    raise InvalidRequest(f"{name!r}: replies are held to {', '.join(FORMS)}")


async def served_judge(settings: JudgeSettings) -> JudgeSettings:
    """The settings with the model that is to judge: the one named, or the first that the server lists.

    Raises Unavailable when the server is away, InvalidRequest when it does not serve that model.
    """
    async with Judge(settings) as judge:
        served = await judge.served()
    if settings.model in served:
        return settings
    if settings.model or not served:
        listed = ", ".join(served[:8]) or "none"
        raise InvalidRequest(f"{settings.url} does not serve {settings.model or 'any model'}; it lists {listed}")
    return replace(settings, model=served[0])


class JudgementFailed(Exception):
    """No judgement came. ``kind`` is one of a few words to count by; ``detail`` is for people."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail


class Judge:
    """Asks one server; an async context, which holds the connections."""

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings
        self._client: openai.AsyncOpenAI | None = None

    async def __aenter__(self) -> Judge:
        import openai

        self._client = openai.AsyncOpenAI(
            base_url=self.settings.url,
            api_key=self.settings.api_key or "none",
            timeout=self.settings.timeout_s,
            max_retries=self.settings.retries,
            # As everywhere in Riddle: the address is meant as it stands, and goes through no proxy of the environment.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def served(self) -> list[str]:
        """The models that the server lists. Raises Unavailable when it is away or refuses the key."""
        import openai

        try:
            return [each.id async for each in self._open().models.list()]
        except openai.APIStatusError as error:
            raise Unavailable(f"the judge at {self.settings.url} answered {error.status_code} to /models") from error
        except (openai.APIError, ValueError, TypeError, AttributeError) as error:
            raise Unavailable(f"no OpenAI-compatible judge at {self.settings.url} ({type(error).__name__})") from error

    async def ask(self, prompt: str, schema: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """What ``read`` makes of the JSON in the reply. ``read`` raises ValueError for what is not of the shape.

        Raises JudgementFailed: ``timeout``, ``unreachable``, ``http STATUS``, ``refused`` (the model or a filter
        would not answer), ``truncated`` (``max_tokens`` reached), ``unparseable``.
        """
        choice = await self._choice(prompt, schema)
        if choice.finish_reason == "content_filter" or choice.message.refusal:
            raise JudgementFailed("refused", choice.message.refusal or choice.finish_reason)
        if choice.finish_reason == "length":
            raise JudgementFailed("truncated", f"after {self.settings.max_tokens} tokens")
        text = choice.message.content or ""
        try:
            return read(_json_in(text))
        except ValueError as error:
            raise JudgementFailed("unparseable", f"{error}: {text[:200]!r}") from error

    async def _choice(self, prompt: str, schema: Mapping[str, Any]) -> Any:
        import openai

        try:
            reply: Any = await self._open().chat.completions.create(
                model=self.settings.model,
                messages=[{"role": "user", "content": prompt}],
                **self._sampling(),
                **_response_format(self.settings.form, schema),
            )
            return reply.choices[0]
        except openai.APITimeoutError as error:
            raise JudgementFailed("timeout", f"no reply within {self.settings.timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            raise JudgementFailed(AWAY, str(error.__cause__ or error)) from error
        except openai.APIStatusError as error:
            raise JudgementFailed(f"http {error.status_code}", error.message) from error
        except (openai.APIError, ValueError, TypeError, IndexError, AttributeError) as error:
            # A body that is no JSON, or no chat completion: the client hands it on as it is.
            raise JudgementFailed("unparseable", f"no chat completion: {error}") from error

    def _sampling(self) -> dict[str, Any]:
        if _REASONS.match(self.settings.model):
            return {"max_completion_tokens": self.settings.max_tokens}
        return {"max_tokens": self.settings.max_tokens, "temperature": self.settings.temperature}

    def _open(self) -> openai.AsyncOpenAI:
        if self._client is None:
            raise RuntimeError("a judge is asked inside `async with`")
        return self._client


def _response_format(form: Form, schema: Mapping[str, Any]) -> dict[str, Any]:
    if form == "schema":
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "verdict", "schema": dict(schema)}}}
    return {"response_format": {"type": "json_object"}} if form == "json" else {}


def _json_in(text: str) -> Any:
    """The first object of a reply, behind what a model may think aloud or fence it with. Raises ValueError."""
    said = text.rpartition("</think>")[2]
    start = said.find("{")
    if start < 0:
        raise ValueError("no JSON object")
    value, _ = json.JSONDecoder().raw_decode(said, start)
    return value
