"""Who asks: a browser by its cookie, a program by the token. Where there is a token, whoever is in has shown it.

A browser is one visitor for as long as it keeps its cookie, also after signing out and in: its runs stay its own. The
cookie says ``visitor.until.tag.signature``: until when (Unix seconds) it is signed in, and with which token. All
programs are one visitor.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comfypod.browsers import is_same_secret
from comfypod.errors import ConfigurationError, WrongToken

SIGNED_IN_SECONDS = 30 * 24 * 3600
"""After the last visit."""
COOKIE_SECONDS = 400 * 24 * 3600
"""No browser keeps one longer."""
KEY_FILE = "cookies.key"
_KEY_BYTES = 32
_COOKIE = re.compile(r"([0-9a-f]{32})\.([0-9]{1,12})\.([0-9a-f]{16})\.([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor, and until when (Unix seconds) it is signed in."""

    visitor_id: str
    signed_in_until: int = 0


class Sessions:
    """Reads and signs cookies; ``key`` is the server's own secret, and ``token`` None where nobody need sign in."""

    def __init__(self, key: bytes, token: str | None, now: Callable[[], float] = time.time) -> None:
        self.needs_token = token is not None
        self._key = key
        self._token = token
        self._tag = self._signature(f"token {token or ''}")[:16]
        self._now = now

    def new_visitor(self) -> Session:
        """A browser that was not here before."""
        return Session(secrets.token_hex(16))

    def of_browser(self, cookie: str) -> Session | None:
        """Whom the cookie stands for; None if it is not one of ours."""
        parts = _COOKIE.fullmatch(cookie)
        if parts is None:
            return None
        visitor_id, until, tag, signature = parts.groups()
        if not is_same_secret(signature, self._signature(f"{visitor_id}.{until}.{tag}")):
            return None
        return Session(visitor_id, int(until) if tag == self._tag else 0)

    def of_program(self, authorization: str) -> Session | None:
        """Whom ``Authorization: Bearer TOKEN`` stands for; None if it is nothing of the kind.

        Raises:
            WrongToken: it is another token.
        """
        scheme, _, given = authorization.partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return None
        self._compare(given.strip())
        return Session(self.programs.visitor_id, self._until())

    @property
    def programs(self) -> Session:
        """The one visitor that all programs are."""
        return Session(self._signature("visitor programs")[:32])

    def sign_in(self, session: Session, token: str) -> Session:
        """The same visitor, signed in.

        Raises:
            WrongToken: it is.
        """
        self._compare(token)
        return Session(session.visitor_id, self._until())

    def renewed(self, session: Session) -> Session:
        """The same, with its time counted from now; who is not signed in stays so."""
        return Session(session.visitor_id, self._until() if session.signed_in_until > self._now() else 0)

    def is_in(self, session: Session | None) -> bool:
        """Whether this is somebody who may use the server."""
        return session is not None and (not self.needs_token or session.signed_in_until > self._now())

    def cookie(self, session: Session) -> str:
        """The value of the cookie."""
        signed = f"{session.visitor_id}.{session.signed_in_until}.{self._tag}"
        return f"{signed}.{self._signature(signed)}"

    def _compare(self, given: str) -> None:
        if self._token is None or not is_same_secret(given, self._token):
            raise WrongToken

    def _until(self) -> int:
        return int(self._now()) + SIGNED_IN_SECONDS

    def _signature(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(errors="surrogateescape"), "sha256").hex()


def load_key(folder: Path) -> bytes:
    """The secret that cookies are signed with, made once and kept in the folder, out of other users' reach.

    Raises:
        ConfigurationError: it cannot be read or written, or is not what was written.
    """
    path = folder / KEY_FILE
    try:
        if not path.exists():
            _write_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be written or read ({error.strerror}); see --data."]) from error
    if len(key) != _KEY_BYTES:
        raise ConfigurationError([f"{path} is damaged; remove it, and everybody is a new visitor."])
    return key


def _write_key(path: Path) -> None:
    """All of it or nothing. Only one server uses the folder."""
    draft = path.with_name(f".{path.name}.partial")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
    draft.replace(path)
