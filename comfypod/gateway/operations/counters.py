"""What this process has done since its start, counted for its metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Counters:
    """Counts; all on one event loop."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.webhooks: Counter[str] = Counter()
        self.open_streams = 0

    def answered(self, method: str, status: int) -> None:
        """A request was answered, with a status of this hundred."""
        known = method if method in {"GET", "HEAD", "POST", "PUT", "DELETE"} else "other"
        self.answers[known, f"{status // 100}xx"] += 1

    def webhook(self, outcome: str) -> None:
        """A webhook was tried: ``delivered``, ``failed`` or ``refused``."""
        self.webhooks[outcome] += 1

    @contextmanager
    def stream(self) -> Iterator[None]:
        """An event stream is open for as long as the body runs."""
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1
