"""What happens to runs, told to whoever watches: to each its newest state only, however slowly it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from comfypod.web.documents import Document, EndpointState, Run

Message = tuple[str, Any]
"""An event's name and its document, as JSON."""


class Subscription:
    """What one watcher has not taken yet: at most one message for each run, and one for the endpoint.

    With ``run_id`` only that run is told of. A watcher that takes nothing costs no more memory for it, and the last
    state of a run is never lost.
    """

    def __init__(self, run_id: str | None) -> None:
        self._run_id = run_id
        self._news: dict[str, tuple[str, Document | dict[str, Any]]] = {}
        self._has_news = asyncio.Event()
        self._is_closed = False

    def put(self, key: str, name: str, document: Document | dict[str, Any]) -> None:
        """There is something new of ``key``, a run's id or a word for another thing."""
        if self._run_id in {None, key} or name == "endpoint":
            self._news[key] = (name, document)
            self._has_news.set()

    def close(self) -> None:
        """There will be nothing more."""
        self._is_closed = True
        self._has_news.set()

    async def messages(self) -> AsyncIterator[Message]:
        """What is new, as soon as there is something, until it is closed."""
        while True:
            await self._has_news.wait()
            while self._news:
                name, document = self._news.pop(next(iter(self._news)))
                yield name, document.to_json() if isinstance(document, Document) else document
            if self._is_closed:
                return
            self._has_news.clear()


class Watchers:
    """The subscriptions of all visitors."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}

    def __bool__(self) -> bool:
        """Whether anybody watches."""
        return bool(self._subscriptions)

    def add(self, visitor_id: str, run_id: str | None) -> Subscription:
        """Somebody begins to watch."""
        subscription = Subscription(run_id)
        self._subscriptions.setdefault(visitor_id, set()).add(subscription)
        return subscription

    def drop(self, visitor_id: str, subscription: Subscription) -> None:
        """He has left."""
        of_visitor = self._subscriptions.get(visitor_id, set())
        of_visitor.discard(subscription)
        if not of_visitor:
            self._subscriptions.pop(visitor_id, None)

    def tell_run(self, visitor_id: str, run: Run) -> None:
        """A visitor's run has changed."""
        for subscription in self._subscriptions.get(visitor_id, ()):
            subscription.put(run.id, "run", run)

    def tell_removed(self, visitor_id: str, run_id: str) -> None:
        """A visitor's run is gone."""
        for subscription in self._subscriptions.get(visitor_id, ()):
            subscription.put(run_id, "removed", {"id": run_id})

    def tell_endpoint(self, state: EndpointState) -> None:
        """The endpoint has changed."""
        for of_visitor in self._subscriptions.values():
            for subscription in of_visitor:
                subscription.put("endpoint", "endpoint", state)

    def close(self) -> None:
        """Everybody has to leave."""
        for of_visitor in self._subscriptions.values():
            for subscription in of_visitor:
                subscription.close()
