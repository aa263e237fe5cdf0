"""Refusals go out when the sender has said all it had to say, and not before."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import gradio
import pytest
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from studio.api import lingering
from studio.api.lingering import LingeringUploads

PIECES = 20


def journal(status: int, *, read: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> list[str]:
    """What happens, in order, when an application hears ``read`` of the pieces and answers with ``status``."""
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(read):
            await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        if seen.count("heard") == PIECES:
            await asyncio.Event().wait()  # a server hands out nothing more until the sender goes away
        seen.append("heard")
        return {"type": "http.request", "body": b"0" * 1000, "more_body": seen.count("heard") < PIECES}

    async def send(message: Message) -> None:
        seen.append(message["type"])

    scope = {"type": "http", "headers": list(headers)}
    asyncio.run(asyncio.wait_for(LingeringUploads(application)(scope, receive, send), 20))
    return seen


END = ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("read", [0, 3, PIECES])
def test_a_refusal_waits_for_the_end_of_the_upload(read: int) -> None:
    assert journal(413, read=read) == ["heard"] * PIECES + END


def test_an_answer_to_a_good_request_waits_for_nothing() -> None:
    assert journal(200, read=3) == ["heard"] * 3 + END


def test_who_asks_before_sending_is_answered_at_once() -> None:
    assert journal(413, read=0, headers=((b"Expect", b"100-continue"),)) == END


def test_patience_has_a_bound_in_bytes_and_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "BYTES", 4500)
    assert journal(413, read=1) == ["heard"] * 6 + END
    monkeypatch.undo()

    async def stalled() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 401)(scope, receive, send)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(lingering, "SECONDS", 0.05)
    asyncio.run(asyncio.wait_for(LingeringUploads(refuse)({"type": "http", "headers": []}, stalled, send), 20))
    assert sent[0]["status"] == 401


def test_over_a_socket_the_sender_reads_the_refusal() -> None:
    async def refuse(request: Request) -> PlainTextResponse:
        return PlainTextResponse("too large", 413)

    with gradio.Blocks(analytics_enabled=False) as demo:
        gradio.Markdown("page")
    options = {"routes": [Route("/take", refuse, methods=["POST"])], "middleware": [Middleware(LingeringUploads)]}
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, app_kwargs=options)
    try:
        for _ in range(5):  # without the layer most of these end in a broken connection
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(f"{url}take", b"0" * (32 << 20)), timeout=30)
            assert refused.value.code == 413
    finally:
        demo.close(verbose=False)
