"""The web page's server does not do what a browser or a program asked of it."""

from __future__ import annotations

from dataclasses import dataclass

from comfypod.errors.base import ComfyPodError, ErrorWithFields


class WebError(ComfyPodError):
    """The web page's server does not do what a browser or a program asked of it."""


@dataclass(eq=False)
class BadRequest(ErrorWithFields, WebError):
    """The request is not as this interface wants it; ``problem`` is a sentence."""

    code = "bad_request"
    problem: str

    def __str__(self) -> str:
        return self.problem


class UnsupportedContent(BadRequest):
    """Its body is of another type than this route takes."""

    code = "unsupported_content"


class NothingThere(BadRequest):
    """There is nothing at this address."""

    code = "not_found"


@dataclass(eq=False)
class UnknownHost(ErrorWithFields, WebError):
    """The request names a host that this server is not known by."""

    code = "unknown_host"
    host: str

    def __str__(self) -> str:
        return f"This server is not known as {self.host[:200]!r}; start it with --allow-host NAME to serve it there"


@dataclass(eq=False)
class ForeignRequest(ErrorWithFields, WebError):
    """A page of another origin made the browser ask, or an unknown proxy passed it on; ``cause`` is a sentence."""

    code = "foreign_request"
    cause: str = "Requests that pages of other origins make are refused"

    def __str__(self) -> str:
        return self.cause


class SignInRequired(WebError):
    """Nobody is signed in."""

    code = "sign_in_required"

    def __str__(self) -> str:
        return "Sign in first"


class WrongToken(WebError):
    """The token is not the server's."""

    code = "wrong_token"

    def __str__(self) -> str:
        return "This is not the token"


@dataclass(eq=False)
class TooMany(ErrorWithFields, WebError):
    """More was asked for than one visitor, or one address, may; ``what`` is a noun."""

    code = "too_many"
    retryable = True
    what: str
    retry_after_seconds: float

    def __str__(self) -> str:
        return f"Too many {self.what}; try again in {self.retry_after_seconds:.0f} s"


@dataclass(eq=False)
class TooLarge(ErrorWithFields, WebError):
    """A body is larger than it may be; ``what`` is a noun."""

    code = "too_large"
    what: str
    limit_bytes: int

    def __str__(self) -> str:
        return f"{self.what} may have at most {self.limit_bytes:,} bytes"
