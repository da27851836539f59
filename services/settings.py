"""Every setting of Riddle, with its default, and the only place that reads the environment."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from generation.answer import AnswerSettings
from indexing.chunking import ChunkSettings
from indexing.partitions import BuildSettings
from ranking.pipeline import RankSettings
from retrieval.recall import RecallSettings
from services.peers.limits import PeerSettings
from services.query_log import LogSettings
from services.query_settings import QuerySettings
from services.settings_load import (
    Given,
    Known,
    build,
    descriptions,
    from_environment,
    from_file,
    from_flags,
    known_settings,
)

FILE_NAME = "riddle.toml"
"""The settings file looked for in the home folder when none is named."""

ALIASES: Mapping[str, str] = {
    "RIDDLE_HOST": "server.host",
    "RIDDLE_PORT": "server.port",
    "RIDDLE_REDIS_URL": "cache.redis_url",
    "RIDDLE_RECALL_URL": "services.recall_url",
    "RIDDLE_RANK_URL": "services.rank_url",
    "RIDDLE_EMBED_URL": "services.embed_url",
}
"""Short names of the variables that people set most."""

NOT_SETTINGS: Mapping[str, str] = {
    "RIDDLE_CONFIG": "the settings file to read, like --config",
    "RIDDLE_DATA": "the folder of larger data sets that tests and benchmarks read",
    "RIDDLE_SOURCES": "the folder that compose.yaml builds from",
    "RIDDLE_JUDGE_KEY": "the API key of the server that judges answers",
    "RIDDLE_KEY": "the API key that commands show to a server, or to the home folder's own keys",
}
"""Variables under our prefix that say where to look, rather than how to behave."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the HTTP servers listen on and the limits that they hold requests to."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""
    port: int = 8080
    """Port to listen on; 0 takes a free one."""
    max_body_bytes: int = 1 << 20
    """Largest request body, in bytes; uploads to jobs have a limit of their own."""
    max_bulk_bytes: int = 32 << 20
    """Largest batch of documents, and largest single one, in bytes."""
    max_query_chars: int = 2000
    """Longest query or question, in code points."""
    max_k: int = 1000
    """Most results that a request may ask for."""
    default_k: int = 10
    """Results when a request does not say how many."""
    drain_s: float = 10.0
    """Seconds that running requests get to finish after SIGTERM."""

    def __post_init__(self) -> None:
        _within("server.port", self.port, 0, 65535)
        _within("server.max_body_bytes", self.max_body_bytes, 1)
        _within("server.max_bulk_bytes", self.max_bulk_bytes, 1)
        _within("server.max_query_chars", self.max_query_chars, 1)
        _within("server.max_k", self.max_k, 1)
        _within("server.default_k", self.default_k, 1, self.max_k)
        _within("server.drain_s", self.drain_s, 0)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which models are used, by name in the registry or as a local folder, and what runs them."""

    encoder: str = "bge-small-en-v1.5"
    """Encoder of new collections: a name that `riddle models list` shows, a folder, or a server (see README.md)."""
    reranker: str = "riddle-reranker-en"
    """Cross-encoder that reorders the first candidates; empty leaves the fused order."""
    generator: str = "smollm2-135m-instruct"
    """Model that answers in process when no generation server is set; empty quotes sentences instead."""
    runtime: Literal["auto", "native", "onnxruntime", "openvino", "sentence-transformers"] = "auto"
    """What runs encoder and reranker; auto takes what suits this machine, native our own int8 kernel (AVX-512 VNNI)."""
    threads: int = 0
    """Threads that one model may use; 0 for as many as there are cores."""

    def __post_init__(self) -> None:
        _within("models.threads", self.threads, 0)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The cache of search results."""

    redis_url: str = ""
    """Redis to keep results in, such as redis://127.0.0.1:6379/0; empty keeps them in this process."""
    ttl_s: int = 3600
    """Seconds that a result may be reused; 0 turns the cache off."""
    max_entries: int = 10_000
    """Most results kept in this process when there is no Redis."""
    timeout_ms: float = 50.0
    """How long a look-up in Redis may take, in milliseconds, before it counts as a miss."""

    def __post_init__(self) -> None:
        _within("cache.ttl_s", self.ttl_s, 0)
        _within("cache.max_entries", self.max_entries, 1)
        _within("cache.timeout_ms", self.timeout_ms, 1)


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """The OpenAI-compatible server that writes answers, when there is one."""

    url: str = ""
    """Its base address up to and with /v1, such as http://127.0.0.1:8000/v1; empty answers in process."""
    model: str = ""
    """The model to ask it for; empty takes the first that it lists."""
    api_key: str = field(default="", repr=False)
    """Key sent as a bearer token."""
    timeout_s: float = 60.0
    """Seconds to wait for the next piece of an answer."""

    def __post_init__(self) -> None:
        _address("generation.url", self.url)
        _within("generation.timeout_s", self.timeout_s, 0.1)


@dataclass(frozen=True, slots=True)
class ServiceUrls:
    """Where the other services are when each runs alone; empty ones are held in process."""

    recall_url: str = ""
    """Address of `riddle serve recall`, such as http://127.0.0.1:8081."""
    rank_url: str = ""
    """Address of `riddle serve rank`."""
    embed_url: str = ""
    """Address of `riddle serve embed`."""
    token: str = field(default="", repr=False)
    """Secret that they show each other; recall, rank and embed answer nobody else then. Empty believes whoever asks."""
    timeout_s: float = 10.0
    """Seconds to wait for one of them."""
    write_timeout_s: float = 300.0
    """Seconds to wait for a batch of documents to be stored; their texts may have to be encoded."""

    def __post_init__(self) -> None:
        _address("services.recall_url", self.recall_url)
        _address("services.rank_url", self.rank_url)
        _address("services.embed_url", self.embed_url)
        _within("services.timeout_s", self.timeout_s, 0.1)
        _within("services.write_timeout_s", self.write_timeout_s, 0.1)


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Builds that are asked for over HTTP."""

    sources: str = ""
    """Folder on the server whose files a job may name; empty allows uploads only."""
    max_upload_bytes: int = 256 << 20
    """Largest upload to one job, in bytes."""

    def __post_init__(self) -> None:
        _within("jobs.max_upload_bytes", self.max_upload_bytes, 1)


def default_home(environ: Mapping[str, str]) -> Path:
    """The user's data folder for Riddle, after the XDG base directory specification."""
    base = environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path("~/.local/share").expanduser()) / "riddle"


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it. Sections of the packages below `services` are declared by those packages."""

    home: Path = field(default_factory=lambda: default_home(os.environ))
    """Folder that holds collections, models, jobs and the settings file."""
    default_collection: str = "docs"
    """Collection that is searched when a request names none."""
    server: ServerSettings = field(default_factory=ServerSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    chunk: ChunkSettings = field(default_factory=ChunkSettings)
    build: BuildSettings = field(default_factory=BuildSettings)
    query: QuerySettings = field(default_factory=QuerySettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    rank: RankSettings = field(default_factory=RankSettings)
    answer: AnswerSettings = field(default_factory=AnswerSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    services: ServiceUrls = field(default_factory=ServiceUrls)
    jobs: JobSettings = field(default_factory=JobSettings)
    peers: PeerSettings = field(default_factory=PeerSettings)
    log: LogSettings = field(default_factory=LogSettings)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings in force, and for each dotted key where its value came from."""

    settings: Settings
    origins: Mapping[str, str]
    """``default``, ``FILE:LINE``, the variable's name, or ``command line``."""
    file: Path | None
    """The settings file that was read, if any."""

    def shown(self) -> dict[str, object]:
        """Each key's value for people and for JSON: secrets and passwords in addresses masked."""
        values: dict[str, object] = {}
        for key, setting in known().items():
            value: object = self.settings
            for part in key.split("."):
                value = getattr(value, part)
            values[key] = _masked(setting, value)
        return values


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Loaded:
    """Compose the settings: flags over variables over the file over defaults.

    ``path`` is the file to read; None looks for RIDDLE_CONFIG, then for ``riddle.toml`` in the home
    folder. ``flags`` maps dotted keys to values, None where the flag was not given. Raises
    SettingsError for what is unknown, ill-typed or out of range, naming the key and its origin.
    """
    every = known()
    from_flag = from_flags(flags or {}, every)
    from_env = from_environment(environ, every, NOT_SETTINGS)
    home = Given(default_home(environ), "default")
    home = from_flag.get("home") or from_env.get("home") or home
    file = path or (Path(environ["RIDDLE_CONFIG"]) if environ.get("RIDDLE_CONFIG") else None)
    if file is None and isinstance(home.value, Path) and (home.value / FILE_NAME).is_file():
        file = home.value / FILE_NAME
    given = {"home": home} | (from_file(file, every) if file else {}) | from_env | from_flag
    origins = {key: given[key].origin if key in given else "default" for key in every}
    return Loaded(build(Settings, given), origins, file)


def environment() -> dict[str, str]:
    """A copy of this process's variables, for those who load settings or start children."""
    return dict(os.environ)


def keep_to_ourselves() -> None:
    """Keep libraries from reporting to their makers, in this process and its children; before they load.

    onnxruntime, OpenVINO and RAGAS do by default: they write an identifier below the user's home
    and send events.
    """
    for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")
    # OpenVINO asks no variable, but does without its reporter where that cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def known() -> dict[str, Known]:
    """Every setting there is, by dotted key."""
    return known_settings(Settings, ALIASES)


def described() -> dict[str, str]:
    """What each setting is for, by dotted key."""
    return descriptions(Settings)


def _masked(setting: Known, value: object) -> object:
    if setting.secret:
        return "********" if value else ""
    if isinstance(value, str):
        return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:********@", value)
    return str(value) if isinstance(value, Path) else value


def _within(key: str, value: float, low: float, high: float | None = None) -> None:
    if value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{key} must be {wanted}, not {value}")


def _address(key: str, value: str) -> None:
    if value and not re.match(r"https?://[^/\s]+", value):
        raise ValueError(f"{key} must be an address that starts with http:// or https://, not {value!r}")
