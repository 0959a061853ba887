"""A front end as a chat bot is one: takes interactions to the store, and brings what the outbox holds to the chat.

It keeps nothing in memory that matters. Whatever it dies in the middle of, another one, or the same one later, does
again: the interaction's id makes a second submission harmless, the nonce a second message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from comfypod.errors import ComfyPodError
from comfypod.master.documents import NewRequest, Notification, OutboxItem, Request
from comfypod.master.store import Store
from tests.chaos.asked import job_input
from tests.chaos.chat import EDIT, content_of
from tests.chaos.traps import Traps

KIND = "chat"
TENANT = "chaos"
POLL_SECONDS = 0.1
CLAIM_SECONDS = 3.0
"""After which another bot may take over what this one was about to deliver."""
BACK_OFF_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Bot:
    """One process of it. ``invalid`` says which interactions are to ask for what cannot be done."""

    name: str
    store: Store
    session: aiohttp.ClientSession
    chat_url: str
    traps: Traps
    invalid: Callable[[int], bool]

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again_and_again(self._take))
            tasks.create_task(self._again_and_again(self._deliver))

    async def _again_and_again(self, do: Callable[[], Awaitable[int]]) -> None:
        """As long as there is something to do; otherwise look again a little later."""
        while True:
            try:
                done = await do()
            except (aiohttp.ClientError, ComfyPodError) as error:
                print(f"{self.name}: {error}", flush=True)
                done = 0
            if not done:
                await asyncio.sleep(POLL_SECONDS)

    async def _take(self) -> int:
        async with self.session.get(f"{self.chat_url}/interactions") as response:
            interactions = await response.json()
        for interaction in interactions:
            self.traps.reached("bot_before_submit")
            await asyncio.to_thread(self.store.submit, self._request(interaction))
            self.traps.reached("bot_submitted")
            await self._send("POST", f"/interactions/{interaction['id']}/acknowledged", {})
        return len(interactions)

    def _request(self, interaction: dict[str, Any]) -> NewRequest:
        number = interaction["number"]
        return NewRequest(
            tenant=TENANT,
            user=interaction["user"],
            idempotency_key=interaction["id"],
            job_input=job_input(number, is_valid=not self.invalid(number)),
            origin={"interaction": interaction["id"]},
            notify=(Notification(KIND, {"interaction": interaction["id"], "way": interaction["way"]}),),
        )

    async def _deliver(self) -> int:
        items = await asyncio.to_thread(self.store.claim, KIND, self.name, CLAIM_SECONDS, 10)
        for item in items:
            self.traps.reached("bot_claimed")
            request = await asyncio.to_thread(self.store.get, item.key)
            try:
                await self._answer(item, request)
            except aiohttp.ClientError as error:
                await asyncio.to_thread(self.store.postpone, item, BACK_OFF_SECONDS, str(error))
                continue
            self.traps.reached("bot_sent")
            await asyncio.to_thread(self.store.delivered, item)
            self.traps.reached("bot_delivered")
        return len(items)

    async def _answer(self, item: OutboxItem, request: Request) -> None:
        interaction, way = item.target["interaction"], item.target["way"]
        content = {"content": content_of(request.state, _picture(request))}
        if way == EDIT:
            await self._send("PATCH", f"/interactions/{interaction}/message", content)
        else:
            await self._send("POST", f"/interactions/{interaction}/messages", {**content, "nonce": item.key[:25]})

    async def _send(self, method: str, path: str, document: dict[str, Any]) -> None:
        async with self.session.request(method, self.chat_url + path, json=document, raise_for_status=True):
            pass


def _picture(request: Request) -> str | None:
    images = (request.output or {}).get("images", [])
    return images[0]["sha256"] if images else None
