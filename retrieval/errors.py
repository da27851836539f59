"""The errors Riddle means to raise: each carries a stable code and whether trying again can help."""

from __future__ import annotations

from typing import ClassVar


class RiddleError(Exception):
    """Root of every error that a user is meant to read.

    ``code`` is stable and machine-readable; one table in ``services/http.py`` turns it into an
    HTTP status, and the command line prints ``detail`` as its one line on stderr. ``detail`` says
    what is wrong and what to do about it.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, stage: str | None = None, retry_after_ms: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.stage = stage
        self.retry_after_ms = retry_after_ms


class InvalidRequest(RiddleError):
    """The request cannot be carried out as written (HTTP 422)."""

    code = "invalid_request"
    title = "Invalid request"


class BadSyntax(RiddleError):
    """The bytes of the request are not what they claim to be, such as invalid UTF-8 or JSON (HTTP 400)."""

    code = "bad_syntax"
    title = "Malformed request"


class TooLarge(RiddleError):
    """The request is over a limit on its size (HTTP 413)."""

    code = "too_large"
    title = "Too large"


class Unauthorized(RiddleError):
    """The request shows no key, or one that is not in force (HTTP 401)."""

    code = "unauthorized"
    title = "Key needed"


class Forbidden(RiddleError):
    """The key does not allow this (HTTP 403)."""

    code = "forbidden"
    title = "Forbidden"


class CollectionNotFound(RiddleError):
    """No collection has that name (HTTP 404)."""

    code = "collection_not_found"
    title = "Unknown collection"


class DocumentNotFound(RiddleError):
    """The collection holds no document with that id (HTTP 404)."""

    code = "document_not_found"
    title = "Unknown document"


class JobNotFound(RiddleError):
    """No job has that id (HTTP 404)."""

    code = "job_not_found"
    title = "Unknown job"


class RequestNotFound(RiddleError):
    """No request of that id is known, to this caller (HTTP 404)."""

    code = "request_not_found"
    title = "Unknown request"


class ModelNotFound(RiddleError):
    """The server answers for no model of that name (HTTP 404)."""

    code = "model_not_found"
    title = "Unknown model"


class Conflict(RiddleError):
    """Someone else holds or changed what this wants, for example a build of the same collection (HTTP 409)."""

    code = "conflict"
    title = "Conflict"


class Overloaded(RiddleError):
    """A queue is full; try again after ``retry_after_ms`` (HTTP 429)."""

    code = "overloaded"
    title = "Overloaded"
    retryable = True


class Unavailable(RiddleError):
    """A server or a part that this needs does not answer; ``stage`` names it (HTTP 503)."""

    code = "unavailable"
    title = "Unavailable"
    retryable = True


class ModelMissing(RiddleError):
    """A model is not on disk, or its files are not what the registry says (HTTP 424)."""

    code = "model_missing"
    title = "Model missing"


class IndexUnreadable(RiddleError):
    """A generation on disk is damaged or of a format this version cannot read (HTTP 503)."""

    code = "index_unreadable"
    title = "Index unreadable"


class GateFailed(RiddleError):
    """What was built is not good enough to be published; what was there before is untouched (HTTP 409)."""

    code = "gate_failed"
    title = "Not good enough to publish"


class DiskFull(RiddleError):
    """Writing failed for want of space; what was there before is untouched (HTTP 507)."""

    code = "disk_full"
    title = "No space left"
    retryable = True


class SourceUnreadable(RiddleError):
    """A file or a row of a source cannot be read; builds set it aside with this reason."""

    code = "source_unreadable"
    title = "Source unreadable"


class SettingsError(RiddleError):
    """A setting is unknown or ill-typed; names the key and the nearest known one."""

    code = "settings"
    title = "Bad settings"


class GenerationFailed(RiddleError):
    """The generation server failed in the middle of an answer (HTTP 503, or an ``error`` event)."""

    code = "generation_failed"
    title = "Generation failed"
    retryable = True
