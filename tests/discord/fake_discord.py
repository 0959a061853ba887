"""A fake Discord on 127.0.0.1: what the HTTP API and the gateway do and forbid, after docs.discord.com.

It knows nothing of the bot. What anybody could see is in `FakeDiscord.messages`, with every look that each message
had; what a client did against the rules is in `faults`, which tests expect to be empty.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import BodyPartReader, web

from tests.discord.fake_commands import command_faults, options_of, registered
from tests.discord.fake_documents import (
    EPHEMERAL,
    LOADING,
    Attachment,
    Interaction,
    Look,
    Message,
    Refused,
    application,
    channel,
    guild,
    member,
    message_document,
    user,
)
from tests.discord.fake_gateway import FakeGateway

TOKEN = "fake-token-2c41"
EPOCH_MS = 1_420_070_400_000
ACKNOWLEDGE_SECONDS = 3.0
TOKEN_SECONDS = 15 * 60.0
NONCE_LENGTH = 25
CONTENT_LENGTH = 2000
MOST_ATTACHMENTS = 10
BUCKET, BUCKET_SECONDS = 5, 2.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeDiscord:
    """One application, one server (guild) and one channel in it; users come to be when they do something."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token
        self.guild_id, self.channel_id, self.application_id = (self._snowflake(number) for number in (1, 2, 3))
        self.messages: dict[int, Message] = {}
        self.interactions: dict[int, Interaction] = {}
        self.commands: list[dict[str, Any]] = []
        self.attachment_limit_bytes = 10 * 1024**2
        self.requests: list[tuple[str, str]] = []
        self.refusals_429 = 0
        self.limited: list[float] = []
        """Seconds of the 429s that the next writes of messages meet, whatever the rates are."""
        self.answers_late: dict[str, float] = {}
        """``PATCH messages`` or ``POST callback`` -> seconds by which its answers come late, after it was done."""
        self.acts_late: list[float] = []
        """Seconds by which the next edits of messages are done late."""
        self.gateway = FakeGateway(token, self._ready, lambda: [guild(self.guild_id, self.channel_id)])
        self._faults: list[str] = []
        self._token_age_seconds = 0.0
        self._buckets: dict[str, list[float]] = {}
        self._files: dict[str, bytes] = {}
        self._count = 16
        self._runner: web.AppRunner | None = None
        self.url = ""

    # ---- its life

    async def __aenter__(self) -> Self:
        served = web.Application(middlewares=[self._answering], client_max_size=64 * 1024**2)
        served.router.add_get("/gw", self.gateway.handle)
        served.router.add_get("/gw/", self.gateway.handle)
        served.router.add_get("/cdn/{name}", self._cdn)
        self._add_routes(served.router)
        self._runner = web.AppRunner(served, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self.gateway.drop(code=1001)
            await self._runner.cleanup()

    def _add_routes(self, router: web.UrlDispatcher) -> None:
        api, app, hook = "/api/v10", "/applications/{app}", "/webhooks/{app}/{token}"
        for method, path, handler in (
            ("GET", "/users/@me", self._me),
            ("GET", "/oauth2/applications/@me", self._application),
            ("GET", "/gateway/bot", self._gateway_bot),
            ("PUT", f"{app}/commands", self._put_commands),
            ("PUT", f"{app}/guilds/{{guild}}/commands", self._put_commands),
            ("GET", "/channels/{channel}/messages", self._list_messages),
            ("POST", "/channels/{channel}/messages", self._create_message),
            ("GET", "/channels/{channel}/messages/{message}", self._read_message),
            ("PATCH", "/channels/{channel}/messages/{message}", self._edit_message),
            ("POST", "/interactions/{interaction}/{token}/callback", self._callback),
            ("GET", f"{hook}/messages/{{message}}", self._read_reply),
            ("PATCH", f"{hook}/messages/{{message}}", self._edit_reply),
        ):
            router.add_route(method, api + path, handler)

    @property
    def faults(self) -> list[str]:
        return self._faults + self.gateway.faults

    def age_tokens(self, seconds: float) -> None:
        """Let so much time pass for the tokens of interactions."""
        self._token_age_seconds += seconds

    def forget_token(self, interaction: Interaction) -> None:
        """Let this one's token have expired."""
        interaction.created_at -= TOKEN_SECONDS

    def delete(self, message: Message) -> None:
        message.is_deleted = True

    # ---- what people do

    async def slash(self, name: str, user_id: int = 500, **options: Any) -> Interaction:
        """Somebody types ``/name``; bytes are files that they attach. Discord's own client checks what is typed."""
        command = registered(self.commands, name)
        resolved: dict[str, Any] = {}
        values = {
            key: self._upload(value, resolved) if isinstance(value, bytes) else value for key, value in options.items()
        }
        data = {"id": str(self._snowflake()), "name": name, "type": 1, "options": options_of(command, values)}
        if resolved:
            data["resolved"] = {"attachments": resolved}
        return await self._interact(2, data, user_id, None, 0)

    async def click(self, message: Message, label: str, user_id: int = 500, permissions: int = 0) -> Interaction:
        """Somebody clicks a button that they see."""
        data = {"custom_id": message.buttons[label], "component_type": 2}
        return await self._interact(3, data, user_id, message, permissions)

    async def again(self, interaction: Interaction) -> None:
        """Deliver an interaction a second time, as after a connection that broke."""
        frames = [event for session in self.gateway.sessions.values() for event in session.events]
        frame = next(f for f in frames if f["t"] == "INTERACTION_CREATE" and f["d"]["id"] == str(interaction.id))
        await self.gateway.dispatch(self.guild_id, "INTERACTION_CREATE", frame["d"])

    def _upload(self, content: bytes, resolved: dict[str, Any]) -> str:
        identifier, name = str(self._snowflake()), f"{secrets.token_hex(8)}.png"
        self._files[name] = content
        resolved[identifier] = {
            "id": identifier,
            "filename": "photo.png",
            "size": len(content),
            "content_type": "image/png",
            "url": f"{self.url}/cdn/{name}",
            "proxy_url": f"{self.url}/cdn/{name}",
        }
        return identifier

    async def _interact(
        self, kind: int, data: dict[str, Any], user_id: int, source: Message | None, permissions: int
    ) -> Interaction:
        interaction = Interaction(
            self._snowflake(),
            secrets.token_urlsafe(40),
            self.channel_id,
            user_id,
            kind,
            time.monotonic(),
            source=source,
        )
        self.interactions[interaction.id] = interaction
        payload = {
            "id": str(interaction.id),
            "application_id": str(self.application_id),
            "type": kind,
            "data": data,
            "guild_id": str(self.guild_id),
            "channel_id": str(self.channel_id),
            "channel": channel(self.channel_id, self.guild_id),
            "member": member(user_id, permissions),
            "token": interaction.token,
            "version": 1,
            "locale": "en-US",
            "guild_locale": "en-US",
            "app_permissions": "274877991936",
            "entitlements": [],
            "attachment_size_limit": self.attachment_limit_bytes,
            "context": 0,
            **({"message": self._message(source)} if source else {}),
        }
        await self.gateway.dispatch(self.guild_id, "INTERACTION_CREATE", payload)
        return interaction

    # ---- answers

    @web.middleware
    async def _answering(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/api/"):
            return await handler(request)
        self.requests.append((request.method, request.path))
        try:
            self._check_token(request)
            self._check_rate(request)
            response = await handler(request)
        except Refused as error:
            return self._json({"code": error.code, "message": error.text}, error.status)
        except web.HTTPTooManyRequests:
            self.refusals_429 += 1
            wait = self.limited.pop(0) if self.limited else BUCKET_SECONDS
            headers = {"Via": "1.1 google", "X-RateLimit-Remaining": "0", "Retry-After": str(math.ceil(wait))}
            return self._json(
                {"message": "You are being rate limited.", "retry_after": wait, "global": False}, 429, headers
            )
        except web.HTTPException as error:
            self._faults.append(f"{request.method} {request.path}: {error.status}")
            raise
        kind = f"{request.method} {'callback' if request.path.endswith('/callback') else 'messages'}"
        await asyncio.sleep(self.answers_late.get(kind, 0))
        return response

    def _check_token(self, request: web.Request) -> None:
        needs_none = request.path.startswith(("/api/v10/interactions/", "/api/v10/webhooks/"))
        if not needs_none and request.headers.get("Authorization") != f"Bot {self.token}":
            raise Refused(401, 0, "401: Unauthorized")

    def _check_rate(self, request: web.Request) -> None:
        """Five writes of messages in two seconds, per channel or interaction."""
        if request.method == "GET" or "/messages" not in request.path:
            return
        if self.limited:
            raise web.HTTPTooManyRequests
        bucket = "/".join(request.path.split("/")[3:6])
        now = time.monotonic()
        recent = [moment for moment in self._buckets.get(bucket, []) if now - moment < BUCKET_SECONDS]
        if len(recent) >= BUCKET:
            raise web.HTTPTooManyRequests
        self._buckets[bucket] = [*recent, now]

    @staticmethod
    def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        # Discord says exactly this, without a charset, and clients compare it.
        headers = {"Content-Type": "application/json", **(headers or {})}
        return web.Response(body=json.dumps(document).encode(), status=status, headers=headers)

    # ---- routes

    async def _me(self, _: web.Request) -> web.Response:
        return self._json(user(self.application_id, bot=True))

    async def _application(self, _: web.Request) -> web.Response:
        return self._json(application(self.application_id))

    async def _gateway_bot(self, _: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 999, "reset_after": 1000, "max_concurrency": 1}
        return self._json({"url": self._gateway_url(), "shards": 1, "session_start_limit": limit})

    async def _put_commands(self, request: web.Request) -> web.Response:
        commands = await request.json()
        self._faults += [fault for command in commands for fault in command_faults(command)]
        names = [command["name"] for command in commands]
        if len(set(names)) != len(names):
            self._faults.append(f"two commands of one name: {names}")
        self.commands = commands
        own = str(self.application_id)
        whole = [{**c, "id": str(self._snowflake()), "application_id": own, "version": "1"} for c in commands]
        return self._json(whole)

    async def _callback(self, request: web.Request) -> web.Response:
        interaction = self.interactions.get(int(request.match_info["interaction"]))
        if interaction is None or interaction.token != request.match_info["token"]:
            raise Refused(404, 10062, "Unknown interaction")
        if time.monotonic() - interaction.created_at > ACKNOWLEDGE_SECONDS:
            self._faults.append(f"interaction {interaction.id} was acknowledged too late")
            raise Refused(404, 10062, "Unknown interaction")
        if interaction.acknowledged_at is not None:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        document, files = await self._read_body(request)
        kind, data = document["type"], document.get("data") or {}
        allowed = {4, 5, 6, 7} if interaction.kind == 3 else {4, 5, 9}
        if kind not in allowed:
            raise Refused(400, 50035, "Invalid Form Body")
        interaction.acknowledged_at = time.monotonic()
        if kind in {4, 5}:
            flags = data.get("flags", 0) | (LOADING if kind == 5 else 0)
            interaction.message = self._new_message(interaction.channel_id, flags, interaction.id)
            if kind == 4:
                self._write(interaction.message, data, files, by_token=True)
        else:
            interaction.message = interaction.source
        return self._callback_answer(request, interaction, kind)

    def _callback_answer(self, request: web.Request, interaction: Interaction, kind: int) -> web.Response:
        if request.query.get("with_response") not in {"true", "True", "1"}:
            return web.Response(status=204)
        message = interaction.message
        about: dict[str, Any] = {"id": str(interaction.id), "type": interaction.kind}
        answer: dict[str, Any] = {"interaction": about}
        if message is not None:
            loading = {"response_message_loading": kind == 5, "response_message_ephemeral": message.is_ephemeral}
            about |= {"response_message_id": str(message.id), **loading}
            answer["resource"] = {"type": kind, "message": self._message(message)}
        return self._json(answer)

    async def _read_reply(self, request: web.Request) -> web.Response:
        return self._json(self._message(self._reply(request)))

    async def _edit_reply(self, request: web.Request) -> web.Response:
        message = self._reply(request)
        await asyncio.sleep(self.acts_late.pop(0) if self.acts_late else 0)
        document, files = await self._read_body(request)
        self._write(message, document, files, by_token=True)
        return self._json(self._message(message))

    def _reply(self, request: web.Request) -> Message:
        token, wanted = request.match_info["token"], request.match_info["message"]
        found = next((item for item in self.interactions.values() if item.token == token), None)
        if found is None or request.match_info["app"] != str(self.application_id):
            raise Refused(404, 10015, "Unknown Webhook")
        if time.monotonic() + self._token_age_seconds - found.created_at > TOKEN_SECONDS:
            raise Refused(401, 50027, "Invalid Webhook Token")
        if found.acknowledged_at is None:
            raise Refused(404, 10015, "Unknown Webhook")
        if found.message is None or found.message.is_deleted or wanted not in {"@original", str(found.message.id)}:
            raise Refused(404, 10008, "Unknown Message")
        return found.message

    async def _list_messages(self, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", "50"))
        visible = [item for item in self.messages.values() if not item.is_deleted and not item.is_ephemeral]
        after = int(request.query.get("after", "0"))
        newest = sorted((item for item in visible if item.id > after), key=lambda item: -item.id)
        return self._json([self._message(item) for item in newest[:limit]])

    async def _create_message(self, request: web.Request) -> web.Response:
        if request.match_info["channel"] != str(self.channel_id):
            raise Refused(404, 10003, "Unknown Channel")
        document, files = await self._read_body(request)
        nonce = document.get("nonce")
        if nonce is not None and len(str(nonce)) > NONCE_LENGTH:
            raise Refused(400, 50035, "nonce: Must be 25 or fewer in length.")
        if document.get("enforce_nonce"):
            known = next((item for item in self.messages.values() if item.nonce == str(nonce)), None)
            if known is not None:
                return self._json(self._message(known))
        message = self._new_message(self.channel_id, 0, None)
        message.nonce = str(nonce) if nonce is not None else None
        self._write(message, document, files, by_token=False)
        return self._json(self._message(message))

    async def _read_message(self, request: web.Request) -> web.Response:
        return self._json(self._message(self._known(request)))

    async def _edit_message(self, request: web.Request) -> web.Response:
        message = self._known(request)
        await asyncio.sleep(self.acts_late.pop(0) if self.acts_late else 0)
        document, files = await self._read_body(request)
        self._write(message, document, files, by_token=False)
        return self._json(self._message(message))

    def _known(self, request: web.Request) -> Message:
        message = self.messages.get(int(request.match_info["message"]))
        if message is None or message.is_deleted or message.is_ephemeral:
            raise Refused(404, 10008, "Unknown Message")
        return message

    async def _cdn(self, request: web.Request) -> web.Response:
        content = self._files.get(request.match_info["name"])
        return web.Response(status=404) if content is None else web.Response(body=content, content_type="image/png")

    # ---- messages

    async def _read_body(self, request: web.Request) -> tuple[dict[str, Any], dict[int, tuple[str, bytes]]]:
        if not request.content_type.startswith("multipart/"):
            if request.content_type != "application/json":
                raise Refused(400, 50109, "The request body contains invalid JSON.")
            return await request.json(), {}
        document: dict[str, Any] = {}
        files: dict[int, tuple[str, bytes]] = {}
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            name = part.name or ""
            if name == "payload_json":
                document = json.loads(await part.text())
            elif name.startswith("files[") and name.endswith("]"):
                files[int(name[6:-1])] = (part.filename or "", bytes(await part.read()))
            else:
                raise Refused(400, 50035, f"unknown part {name!r}")
        return document, files

    def _new_message(self, channel_id: int, flags: int, interaction_id: int | None) -> Message:
        message = Message(self._snowflake(), channel_id, flags, interaction_id=interaction_id)
        self.messages[message.id] = message
        return message

    def _write(
        self, message: Message, document: dict[str, Any], files: dict[int, tuple[str, bytes]], *, by_token: bool
    ) -> None:
        self._check_message(document, files)
        message.content = document.get("content", message.content) or ""
        message.components = document.get("components", message.components)
        message.flags = message.flags & ~LOADING | document.get("flags", 0) & EPHEMERAL
        if "attachments" in document:
            kept = {item.id: item for item in message.attachments}
            message.attachments = [self._attachment(item, kept, files) for item in document["attachments"]]
        elif files:
            message.attachments += [Attachment(self._snowflake(), *item) for item in files.values()]
        names = tuple(item.filename for item in message.attachments)
        message.looks.append(Look(time.monotonic(), message.content, tuple(message.buttons), names, by_token))

    def _attachment(
        self, item: dict[str, Any], kept: dict[int, Attachment], files: dict[int, tuple[str, bytes]]
    ) -> Attachment:
        if (number := int(item["id"])) in kept:
            return kept[number]
        if number not in files:
            raise Refused(400, 50035, "attachments: names a file that did not come")
        return Attachment(self._snowflake(), item.get("filename") or files[number][0], files[number][1])

    def _check_message(self, document: dict[str, Any], files: dict[int, tuple[str, bytes]]) -> None:
        rows = document.get("components") or []
        ids = [item.get("custom_id", "") for row in rows for item in row["components"]]
        for is_wrong, text in (
            (len(document.get("content") or "") > CONTENT_LENGTH, "content: Must be 2000 or fewer in length."),
            (len(rows) > 5 or any(len(row["components"]) > 5 for row in rows), "components: too many"),
            (any(not 1 <= len(item) <= 100 for item in ids) or len(set(ids)) < len(ids), "custom_id: wrong"),
            (len(document.get("attachments") or ()) > MOST_ATTACHMENTS or len(files) > MOST_ATTACHMENTS, "attachments"),
        ):
            if is_wrong:
                self._faults.append(text)
                raise Refused(400, 50035, text)
        if sum(len(content) for _, content in files.values()) > self.attachment_limit_bytes:
            raise Refused(413, 40005, "Request entity too large")
        if (document.get("allowed_mentions") or {"parse": ["everyone"]}).get("parse"):
            self._faults.append("a message that could mention everyone")

    # ---- documents

    def _snowflake(self, number: int | None = None) -> int:
        if number is None:
            self._count += 1
            number = self._count
        return (int(time.time() * 1000) - EPOCH_MS << 22) | number & 0x3FFFFF

    def _gateway_url(self) -> str:
        return self.url.replace("http://", "ws://") + "/gw"

    def _ready(self) -> dict[str, Any]:
        known = {"v": 10, "user": user(self.application_id, bot=True), "resume_gateway_url": self._gateway_url()}
        return {**known, "application": {"id": str(self.application_id), "flags": 0}}

    def _message(self, message: Message) -> dict[str, Any]:
        about = self.interactions.get(message.interaction_id or 0)
        return message_document(message, self.application_id, about.user_id if about else None)
