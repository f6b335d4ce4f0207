"""Everything that can be wrong with a request, as one tree of errors, and as RFC 9457 problem+json."""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from model_zoo.extras import installing

MEDIA_TYPE = "application/problem+json"


class ProblemBody(BaseModel):
    """An RFC 9457 problem: ``type`` is stable and made for programs, ``detail`` is made for people."""

    model_config = ConfigDict(
        extra="allow",
        title="Problem",
        json_schema_extra={
            "example": {
                "type": "/problems/wrong-size",
                "title": "The image has the wrong size",
                "status": 422,
                "detail": "The image is 95×96 pixels, expected exactly 96×96: cut a patch of this size from the slide "
                "at the model's microns per pixel; do not rescale the image to this size.",
            }
        },
    )

    type: str = Field(description="The kind of problem; stable, for programs.")
    title: str
    status: int
    detail: str = Field(description="What was wrong, what was expected, and what to do.")


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """A request that cannot be answered; subclasses say why.

    Args:
        detail: what was wrong, where, what was expected, and what to do.
        headers: further response headers.
        extensions: further members of the problem's JSON.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal server error"

    def __init__(self, detail: str, headers: dict[str, str] | None = None, **extensions: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.extensions = extensions

    def body(self) -> dict[str, Any]:
        return problem_body(self.slug, self.title, self.status, self.detail) | self.extensions


class InvalidParameter(Problem):
    status, slug, title = 422, "invalid-parameter", "A parameter is unknown, repeated or invalid"


class InvalidForm(Problem):
    status, slug, title = 422, "invalid-form", "The multipart form has unexpected or missing fields"


class InvalidJson(Problem):
    status, slug, title = 422, "invalid-json", "The body is not the JSON that was expected"


class InvalidInference(Problem):
    status, slug, title = 400, "invalid-inference", "The body is no inference request that can be answered"


class EmptyBody(Problem):
    status, slug, title = 422, "empty-body", "The request contains no file"


class BodyTooLarge(Problem):
    status, slug, title = 413, "body-too-large", "The body is too large"


class BodyTooSlow(Problem):
    status, slug, title = 408, "body-too-slow", "The body did not arrive in time"


class BodyIncomplete(Problem):
    status, slug, title = 400, "body-incomplete", "The connection closed before the body was complete"


class ClientGone(Problem):
    status, slug, title = 400, "client-gone", "The client disconnected"


class UnsupportedContentType(Problem):
    status, slug, title = 415, "unsupported-content-type", "The content type or encoding is not supported"


class ImageProblem(Problem):
    """The body is no patch that can be assessed."""

    status = 422


class NotAnImage(ImageProblem):
    slug, title = "not-an-image", "The body is not a PNG, JPEG or TIFF image"


class TruncatedImage(ImageProblem):
    slug, title = "truncated-image", "The image is truncated or damaged"


class ImageTooLarge(ImageProblem):
    slug, title = "image-too-large", "The image is too large"


class WrongSize(ImageProblem):
    slug, title = "wrong-size", "The image has the wrong size"


class WrongMode(ImageProblem):
    slug, title = "wrong-mode", "The image is not 8-bit RGB"


class Animation(ImageProblem):
    slug, title = "animation", "The file contains more than one image"


class UnsupportedTiff(ImageProblem):
    slug, title = "unsupported-tiff", "This kind of TIFF is not supported"


class UnsupportedJpeg(ImageProblem):
    slug, title = "unsupported-jpeg", "This kind of JPEG is not supported"


class WrongScale(ImageProblem):
    slug, title = "wrong-scale", "The patch's scale differs from the model's"


class Unauthorized(Problem):
    status, slug, title = 401, "unauthorized", "A valid key is required"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="rosette"'})


class Forbidden(Problem):
    status, slug, title = 403, "forbidden", "The key's role does not permit this"


class NotFound(Problem):
    status, slug, title = 404, "not-found", "There is no such address"


class MethodNotAllowed(Problem):
    status, slug, title = 405, "method-not-allowed", "The address does not take this method"


class TooManyTries(Problem):
    status, slug, title = 429, "too-many-tries", "Too many wrong keys or refused sign-ins"

    def __init__(self, detail: str, wait_s: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(wait_s)})


class RateExceeded(Problem):
    status, slug, title = 429, "rate-exceeded", "The key sends too many patches"

    def __init__(self, detail: str, wait_s: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(wait_s)})


class UnknownKey(Problem):
    status, slug, title = 404, "unknown-key", "There is no such key"


class KeyRevoked(Problem):
    status, slug, title = 409, "key-revoked", "The key was revoked or has expired"


class KeyReplaced(Problem):
    status, slug, title = 409, "key-replaced", "The key was replaced already"


class HasNoKey(Problem):
    status, slug, title = 409, "has-no-key", "The person has no key"


class PersonEnabled(Problem):
    status, slug, title = 409, "person-enabled", "The person is not disabled"


class IsNoPerson(Problem):
    status, slug, title = 409, "is-no-person", "The key is no person's"


class SignInRefused(Problem):
    """A sign-in at the identity provider that does not open a session; ``reason`` is a code."""

    status, slug, title = 403, "sign-in-refused", "The sign-in was refused"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail, reason=reason)
        self.reason = reason


class ProviderUnavailable(Problem):
    status, slug, title = 503, "provider-unavailable", "The identity provider cannot be used"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class LastAdminKey(Problem):
    status, slug, title = 409, "last-admin-key", "This is the last valid admin key"


class IdempotencyMismatch(Problem):
    status, slug, title = 422, "idempotency-mismatch", "The idempotency key was used for another request"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used with another patch or other parameters within the last 24 hours: "
            "send a new key with each new request."
        )


class UnknownPrediction(Problem):
    status, slug, title = 404, "unknown-prediction", "There is no such prediction"


class NoPatchStored(Problem):
    status, slug, title = 404, "no-patch-stored", "The patch of this prediction was not stored"


class ArtifactRefused(Problem):
    status, slug, title = 422, "artifact-refused", "The artifact failed its vetting"


class VettingUnavailable(Problem):
    status, slug, title = 503, "vetting-unavailable", "Artifacts cannot be vetted on this server"


class UnknownModel(Problem):
    status, slug, title = 404, "unknown-model", "There is no such model"


class UnknownAcceptance(Problem):
    status, slug, title = 404, "unknown-acceptance", "There is no such acceptance test"


class NoVerdictTest(Problem):
    status, slug, title = 409, "no-verdict-test", "The model cannot be tested on verdicts now"


class ModelInUse(Problem):
    status, slug, title = 409, "model-in-use", "The model's state does not permit this"


class ModelNotServing(Problem):
    status, slug, title = 409, "model-not-serving", "The model does not serve"


class ModelUnusable(Problem):
    status, slug, title = 409, "model-unusable", "The model cannot be loaded on this server"


class NothingToRollBackTo(Problem):
    status, slug, title = 409, "nothing-to-roll-back-to", "There is no previously active model"


class Busy(Problem):
    status, slug, title = 503, "busy", "The server is busy"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class NoModel(Problem):
    status, slug, title = 503, "no-model", "No model is loaded"


class NotYetReadable(Problem):
    status, slug, title = 503, "not-yet-readable", "The answer is recorded, but not in the database yet"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "2"})


class RecordsUnavailable(Problem):
    status, slug, title = 503, "records-unavailable", "The database is unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class SlidesNotInstalled(Problem):
    status, slug, title = 501, "slides-not-installed", "This server cannot read slides"

    def __init__(self) -> None:
        super().__init__(f"The server lacks what reads slides: {installing('slides')}, and start it again.")


class DicomNotInstalled(Problem):
    status, slug, title = 501, "dicom-not-installed", "This server cannot write DICOM"

    def __init__(self) -> None:
        super().__init__(
            f"The server lacks highdicom: {installing('slides,dicom')}, start it again, and score the slide again."
        )


class WrongPicture(Problem):
    status, slug, title = 409, "wrong-picture", "The picture is not the answer's patch"

    def __init__(self, found: str | None, expected: str) -> None:
        super().__init__(
            f"The pixels of the picture have the SHA-256 {found}, those of the answer's patch {expected}: nothing was "
            "stored. Choose the file that was classified.",
            found=found,
            expected=expected,
        )


class UnknownSlide(Problem):
    status, slug, title = 404, "unknown-slide", "There is no such slide"


class SlideRefused(Problem):
    status, slug, title = 409, "slide-refused", "The slide cannot be read or scored"


class UnknownPart(Problem):
    status, slug, title = 404, "unknown-part", "The slide has no such tile or cell, or it cannot be read"


class UnknownRun(Problem):
    status, slug, title = 404, "unknown-run", "There is no such run"


class RunState(Problem):
    status, slug, title = 409, "run-state", "The run's state does not allow this"


class NoWebhook(Problem):
    status, slug, title = 409, "no-webhook", "No webhook is set"


class TooSoon(Problem):
    status, slug, title = 429, "too-soon", "It was done a moment ago"

    def __init__(self, detail: str, wait_s: float) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, ceil(wait_s)))})


class NotReady(Problem):
    status, slug, title = 503, "not-ready", "The server is not ready"


# What every route that needs a key may answer with.
ALWAYS = (Unauthorized, Forbidden, InvalidParameter, TooManyTries, Problem, Busy, RecordsUnavailable)


def problem_body(slug: str, title: str, status: int, detail: str) -> dict[str, Any]:
    return {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}


def unexpected() -> Problem:
    """The problem of an error that nobody foresaw."""
    return Problem("An unexpected error occurred; the server's log has the details. Nothing was recorded.")
