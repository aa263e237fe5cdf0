"""A refused upload is heard to its end, so that the sender reads why instead of finding the connection broken."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = 10.0
BYTES = 256 << 20


class LingeringUploads:
    """ASGI layer that takes in what is left of a request's body before it lets a refusal (status 400 and up) go out.

    Most clients send everything before they read a word. A server that answers in the middle and closes resets their
    connection, and often the answer is lost with it (RFC 9112, 9.6). What arrives here is dropped, for ``SECONDS`` and
    ``BYTES`` at most. Clients that first ask whether to send (``Expect: 100-continue``) are answered at once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        whole = any(name.lower() == b"expect" for name, _ in scope["headers"])

        async def heard() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                dropped = 0
                with anyio.move_on_after(SECONDS):
                    while not whole and dropped < BYTES:
                        dropped += len((await heard()).get("body", b""))
            await send(message)

        await self.app(scope, heard, answered)
