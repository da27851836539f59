"""Which encoder a name stands for: a model on disk, our own embed service, or somebody's embedding server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError

from retrieval.encoders import open_encoder, remote_encoder
from retrieval.errors import InvalidRequest, Unavailable
from retrieval.models import find_model
from retrieval.remote_encoders import Flavour
from retrieval.types import Encoder, EncoderSpec
from services.auth import token_headers
from services.breaker import Breaker
from services.clients import problem_error
from services.settings import ServiceUrls, Settings

SPEC = TypeAdapter(EncoderSpec)
SPEC_PATH = "/v1/spec"
STAGE = "embed"

_SERVERS: Mapping[str, Flavour] = {"openai": "openai", "tei": "tei"}


_QUERY_SHARE = 0.2
"""Of the patience with a service, for a query: who waits for its vector as long as the gateway waits for recall
is given up together with recall, and the search fails that could have gone on without."""


class PostJson:
    """The transport of remote encoders, over one pool of connections. Thread-safe.

    A server that did not answer is not asked again at once, so that searches go on without it: see Breaker.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._breaker = Breaker()
        self._turn = threading.Lock()

    def post(self, path: str, json: Mapping[str, Any]) -> Any:
        """Raises Unavailable when the server does not answer, and what a Riddle service raised."""
        return self._answer("POST", path, json)

    def get(self, path: str) -> Any:
        return self._answer("GET", path, None)

    def close(self) -> None:
        self._http.close()

    def _answer(self, method: str, path: str, json: Mapping[str, Any] | None) -> Any:
        with self._turn:
            resting, wait_ms = self._breaker.open and not self._breaker.trial_due(), self._breaker.wait_ms
        if resting:
            raise Unavailable(
                f"the embedding server at {self._http.base_url} does not answer", stage=STAGE, retry_after_ms=wait_ms
            )
        try:
            response = self._http.request(method, path, json=json, timeout=self._patience(json))
        except httpx.TransportError as error:
            with self._turn:
                self._breaker.failed()
            raise Unavailable(
                f"the embedding server at {self._http.base_url} does not answer ({type(error).__name__})", stage=STAGE
            ) from error
        with self._turn:
            self._breaker.succeeded()
        if not response.is_success:
            raise problem_error(response, STAGE)
        try:
            return response.json()
        except ValueError as error:
            raise Unavailable(
                f"the embedding server at {self._http.base_url} answered what is not JSON", stage=STAGE
            ) from error

    def _patience(self, json: Mapping[str, Any] | None) -> httpx.Timeout:
        usual = self._http.timeout
        if usual.read is None or not json or json.get("prompt_name") != "query":
            return usual
        return httpx.Timeout(usual.read * _QUERY_SHARE, connect=usual.connect)


def encoder_named(name: str, settings: Settings) -> Encoder:
    """Open the encoder of a collection; seconds of work, so for threads that may wait.

    ``name`` is a model (registry name, hub id or folder), or ``openai:ADDRESS#MODEL`` or ``tei:ADDRESS``
    for an embedding server. With ``services.embed_url`` set, the model that the settings name is
    asked of that service. Raises ModelMissing, InvalidRequest, or Unavailable when a server is away.
    """
    if not name:
        raise InvalidRequest("models.encoder is empty: name the model that collections are to be built with")
    kind, found, rest = name.partition(":")
    if found and kind in _SERVERS:
        return _server(_SERVERS[kind], name, rest, settings.services.timeout_s)
    if settings.services.embed_url and name == settings.models.encoder:
        return _embed_service(settings.services)
    return open_encoder(
        find_model(name, settings.home), runtime=settings.models.runtime, threads=settings.models.threads
    )


def _server(flavour: Flavour, name: str, rest: str, timeout_s: float) -> Encoder:
    address, _, model = rest.partition("#")
    if not address.startswith(("http://", "https://")):
        raise InvalidRequest(f"{name!r} names no server: write openai:http://HOST#MODEL or tei:http://HOST")
    # What it was trained for is not told; dimension is found out by asking.
    spec = EncoderSpec(name, dimension=0, max_tokens=512, languages=("*",))
    address = address.rstrip("/").removesuffix("/v1")
    return remote_encoder(spec, _transport(address, timeout_s), flavour=flavour, model=model)


def _embed_service(services: ServiceUrls) -> Encoder:
    url = services.embed_url
    transport = _transport(url, services.timeout_s, services.token)
    try:
        spec = SPEC.validate_python(transport.get(SPEC_PATH))
    except ValidationError as error:
        raise Unavailable(f"{url} is not a Riddle embed service", stage=STAGE) from error
    return remote_encoder(spec, transport, flavour="riddle")


def _transport(url: str, timeout_s: float, token: str = "") -> PostJson:
    """``token`` is for our own embed service; no other server is told it."""
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, 1.0))
    headers = token_headers(token)
    return PostJson(httpx.Client(base_url=url.rstrip("/"), timeout=timeout, trust_env=False, headers=headers))
