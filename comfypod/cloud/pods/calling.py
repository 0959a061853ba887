"""Calls to RunPod's API of pods: made again while it is busy or away, but only those that may arrive twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comfypod.cloud.answers import Answer, AnswerLost, NotSent
from comfypod.cloud.clock import Clock, SystemClock
from comfypod.cloud.endpoint import OutcomeUnknown
from comfypod.cloud.patience import Patience
from comfypod.cloud.pods.account import Account
from comfypod.cloud.transport import Transport
from comfypod.errors import AuthenticationFailed, CloudUnavailable

PATIENCE_SECONDS = 20.0
_USER_AGENT = "comfypod"
"""Without one of a browser or an SDK, the network before GraphQL may answer 403 (RunPod's own plug-ins, of 2026)."""


class Caller:
    """One account's calls; may be used by many threads."""

    def __init__(
        self, account: Account, *, clock: Clock | None = None, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self.url = account.url
        self.clock = clock or SystemClock()
        self._patience_seconds = patience_seconds
        self._transport = Transport(account, user_agent=f"Mozilla/5.0 (compatible; {_USER_AGENT})")

    def close(self) -> None:
        """Close what is open."""
        self._transport.close()

    def call(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, *, is_repeatable: bool = True
    ) -> Answer:
        """The answer, whatever its status is, but for those of a platform that is busy, broken, or refuses the key.

        Raises:
            OutcomeUnknown: it is not repeatable, and may have taken effect.
            AuthenticationFailed: the key was refused.
            CloudUnavailable: there is no answer.
        """
        body = None if document is None else json.dumps(document).encode()
        patience = Patience(self._patience_seconds, self.clock)
        while True:
            since = self.clock.now()
            try:
                answer = self._transport.send(method, path, body, on_new_connection=not is_repeatable)
                cause, took_effect = f"HTTP {answer.status}", answer.status != 429
                if answer.status == 401:
                    raise AuthenticationFailed(self.url)
                if not answer.is_trouble:
                    return answer
            except NotSent as error:
                cause, took_effect = str(error), False
            except AnswerLost as error:
                cause, took_effect = str(error), True
            if took_effect and not is_repeatable:
                raise OutcomeUnknown(cause)
            if not patience.pause(since):
                raise CloudUnavailable(self.url, cause)
