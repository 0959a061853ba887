"""A chat service as Discord is one: people ask, bots answer, and everybody sees what was answered.

A person's command is an interaction. It is offered to every bot until one has acknowledged it, and some are offered
once more after that. A bot answers by editing the message of the interaction, which may be repeated, or by a message of
its own, which may not; there a nonce has the service show the same message once (docs.discord.com, "Create Message":
``enforce_nonce``). Some answers to bots get lost on their way, after what was asked has been done.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from aiohttp import web

EDIT, MESSAGE = "edit", "message"
NONCE_CHARACTERS = 25
OFFERED = 20
"""How many interactions a bot is told of at a time."""


@dataclass(slots=True)
class Interaction:
    """A command of a person, and what became visible for it.

    ``way`` is how it can be answered: the address of its own message works for a quarter of an hour only.
    """

    number: int
    user: str
    way: str
    asked: float
    edited: str | None = None
    messages: list[str] = field(default_factory=list)
    answered: float | None = None

    @property
    def id(self) -> str:
        """What identifies it."""
        return f"interaction-{self.number}"

    @property
    def offer(self) -> dict[str, Any]:
        """What bots are told of it."""
        return {"id": self.id, "user": self.user, "number": self.number, "way": self.way}

    @property
    def visible(self) -> list[str]:
        """Every answer that people see."""
        return [*self.messages, *([] if self.edited is None else [self.edited])]


class Chat:
    """The service; people talk to it by `ask`, bots by HTTP. ``waiting``: the interactions that nobody has answered.

    ``share_repeated`` of the interactions are offered once more after they were acknowledged. ``share_unheard`` of the
    bots' requests are carried out and answered with 502. Without ``keeps_nonces`` it shows what it is sent.
    """

    def __init__(self, *, share_repeated: float, share_unheard: float, keeps_nonces: bool, seed: int) -> None:
        self.interactions: dict[str, Interaction] = {}
        self.waiting: set[str] = set()
        self.repeats = 0
        self._open: dict[str, Interaction] = {}
        self._share_repeated = share_repeated
        self._share_unheard = share_unheard
        self._keeps_nonces = keeps_nonces
        self._nonces: set[str] = set()
        self._random = random.Random(seed)  # noqa: S311 (to be repeatable)
        self._runner: web.AppRunner | None = None
        self.url = ""

    def ask(self, number: int, user: str) -> None:
        """A person gives a command."""
        interaction = Interaction(number, user, MESSAGE if number % 2 else EDIT, time.time())
        self.interactions[interaction.id] = interaction
        self.waiting.add(interaction.id)
        self._open[interaction.id] = interaction

    @property
    def open(self) -> int:
        """How many interactions no bot has acknowledged."""
        return len(self._open)

    async def start(self) -> None:
        """Serve on a free port."""
        application = web.Application()
        application.router.add_get("/interactions", self._offer)
        application.router.add_post("/interactions/{id}/acknowledged", self._acknowledge)
        application.router.add_patch("/interactions/{id}/message", self._edit)
        application.router.add_post("/interactions/{id}/messages", self._create)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _offer(self, _: web.Request) -> web.Response:
        return web.json_response([item.offer for item in islice(self._open.values(), OFFERED)])

    async def _acknowledge(self, request: web.Request) -> web.Response:
        interaction = self._open.pop(request.match_info["id"], None)
        if interaction is not None and self._strikes(self._share_repeated):
            self._open[interaction.id] = interaction
            self.repeats += 1
        return web.json_response({})

    async def _edit(self, request: web.Request) -> web.Response:
        interaction = self.interactions[request.match_info["id"]]
        interaction.edited = (await request.json())["content"]
        return self._told(interaction)

    async def _create(self, request: web.Request) -> web.Response:
        interaction, message = self.interactions[request.match_info["id"]], await request.json()
        nonce = message["nonce"]
        if len(nonce) > NONCE_CHARACTERS:
            return web.json_response({"nonce": [f"Must be {NONCE_CHARACTERS} or fewer in length."]}, status=400)
        if not (self._keeps_nonces and nonce in self._nonces):
            self._nonces.add(nonce)
            interaction.messages.append(message["content"])
        return self._told(interaction)

    def _told(self, interaction: Interaction) -> web.Response:
        interaction.answered = interaction.answered or time.time()
        self.waiting.discard(interaction.id)
        return web.Response(status=502) if self._strikes(self._share_unheard) else web.json_response({})

    def _strikes(self, share: float) -> bool:
        return self._random.random() < share


def content_of(state: str, picture: str | None) -> str:
    """The text of an answer: how the request ended, and the SHA-256 of its picture."""
    return json.dumps({"state": state, "picture": picture})


def read_content(content: str) -> dict[str, Any]:
    """What `content_of` has written."""
    document: dict[str, Any] = json.loads(content)
    return document
