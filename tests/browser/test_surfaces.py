"""What surrounds the page on the same server: login, privacy, limits, REST description, named endpoint, MCP tools."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

from tests.browser import steps
from tests.browser.conftest import Server

pytestmark = pytest.mark.browser
LOGIN = "ada:correct-horse"


@pytest.fixture(scope="module")
def guarded(start_studio: Callable[..., Server]) -> Server:
    """A studio with a login, open to the network, that takes at most 1 MB."""
    return start_studio("--login", LOGIN, GRADIO_SERVER_NAME="0.0.0.0", STUDIO_UPLOAD_MB="1")


@pytest.fixture(scope="module")
def shared(start_studio: Callable[..., Server]) -> Server:
    """A studio open to the network without login."""
    return start_studio(GRADIO_SERVER_NAME="0.0.0.0")


def status(url: str, data: bytes | None = None, **headers: str) -> int:
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def upload(field: str, size: int) -> tuple[bytes, str]:
    """A multipart body with one file of ``size`` bytes, and its content type."""
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n\r\n'.encode()
    return head + b"\xff" * size + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"


def test_health_and_docs_answer(studio) -> None:
    assert studio.get("/health")["status"] == "ok"
    with urllib.request.urlopen(f"{studio.url}/docs", timeout=10) as answer:
        assert b"swagger" in answer.read().lower()
    paths = studio.get("/openapi.json")["paths"]
    assert {"/health", "/v1/scene", "/v1/jobs/{job_id}", "/v1/runs/{run_id}"} <= set(paths)


def test_only_the_pipelines_are_endpoints_and_tools(studio) -> None:
    info = Client(studio.url, verbose=False).view_api(return_format="dict")
    assert list(info["named_endpoints"]) == ["/scene"]
    assert info["unnamed_endpoints"] == {}

    async def tools() -> dict:
        async with (
            streamablehttp_client(f"{studio.url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return {tool.name: tool for tool in (await session.list_tools()).tools}

    # In a thread of its own: the browser of the other tests keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(asyncio.run, tools()).result(60)
    assert list(found) == ["scene"]
    fields = found["scene"].inputSchema["properties"]
    assert {"files", "engine", "chunks", "chunk_seconds"} <= set(fields)
    assert "Number of chunks" in json.dumps(fields["chunks"])
    assert "Turns photos of a place" in found["scene"].description


def test_named_endpoint_runs_the_pipeline(studio, photos, tmp_path) -> None:
    client = Client(studio.url, verbose=False, download_files=tmp_path)
    summary, main, packed = client.predict([handle_file(p) for p in photos], chunks=2, api_name="/scene")
    assert summary["engine"] == "sfm"
    assert summary["summary"]["views"] == 3
    assert Path(main).read_bytes()[:4] == b"glTF"
    assert Path(packed).read_bytes()[:2] == b"PK"
    with pytest.raises(Exception, match="at least two photos"):
        client.predict([handle_file(photos[0])], api_name="/scene")


def test_a_stranger_is_refused_and_the_owner_enters(guarded, open_page, photos) -> None:
    assert guarded.get("/health")["status"] == "ok"
    assert status(f"{guarded.url}/v1/runs") == 401
    assert status(f"{guarded.url}/v1/scene", b"{}", Content_Type="application/json") == 401
    assert status(f"{guarded.url}/gradio_api/queue/join", b"{}", Content_Type="application/json") == 401
    assert status(f"{guarded.url}/gradio_api/info") == 401

    page = open_page(guarded.url)
    page.get_by_label("username").wait_for()
    assert page.locator("#scene-run").count() == 0
    user, _, password = LOGIN.partition(":")
    page.get_by_label("username").fill(user)
    page.get_by_label("password").fill("wrong")
    page.get_by_role("button", name="Login").click()
    page.get_by_text("Incorrect Credentials").wait_for()
    page.get_by_label("username").fill(user)
    page.get_by_label("password").fill(password)
    page.get_by_role("button", name="Login").click()
    steps.ready(page)
    steps.give(page, photos)
    steps.run(page)
    assert steps.wait_for_drawing(page) >= 500


def test_an_upload_over_the_limit_gets_413(guarded) -> None:
    basic = "Basic " + base64.b64encode(LOGIN.encode()).decode()
    body, kind = upload("photos", 2 << 20)
    assert status(f"{guarded.url}/v1/scene", body, Content_Type=kind, Authorization=basic) == 413

    user, _, password = LOGIN.partition(":")
    form = urllib.parse.urlencode({"username": user, "password": password}).encode()
    with urllib.request.urlopen(f"{guarded.url}/login", form, timeout=10) as answer:
        cookies = "; ".join(c.partition(";")[0] for c in answer.headers.get_all("Set-Cookie"))
    body, kind = upload("files", 2 << 20)
    assert status(f"{guarded.url}/gradio_api/upload", body, Content_Type=kind, Cookie=cookies) == 413
    body, kind = upload("files", 1000)
    assert status(f"{guarded.url}/gradio_api/upload", body, Content_Type=kind, Cookie=cookies) == 200


def test_visitors_of_an_open_server_see_only_their_own_runs(shared, open_page, photos) -> None:
    mine = steps.ready(open_page(shared.url))
    steps.give(mine, photos)
    steps.run(mine)
    mine.locator("#scene-result-head input").wait_for()
    link = mine.locator("#scene-result-head input").input_value()
    steps.tab(mine, "Gallery")
    mine.locator(".ls-card").wait_for()

    other = steps.ready(open_page(shared.url))
    steps.tab(other, "Gallery")
    other.get_by_text("Nothing here yet").wait_for()
    steps.tab(other, "Models")
    other.locator("#models-table").get_by_text("Depth Anything 3 Small").wait_for()
    assert other.locator("#models-table").get_by_text("Download").count() == 0

    looking = open_page(link)
    looking.locator("#scene-result-head").get_by_text("read only").wait_for()
    assert status(f"{shared.url}/v1/runs/{link.rpartition('=')[2]}") == 200
    request = urllib.request.Request(f"{shared.url}/v1/runs/{link.rpartition('=')[2]}", method="DELETE")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)
