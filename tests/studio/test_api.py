"""The REST surface beside a real page, over a real socket."""

from __future__ import annotations

import io
import json
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from models.runtime.settings import Limits, Settings
from models.runtime.weights import WeightsStore
from studio.services import Studio
from tests.studio.conftest import make_studio

gradio = pytest.importorskip("gradio")


@contextmanager
def served(settings: Settings, name: str = "127.0.0.1") -> Iterator[tuple[Studio, httpx.Client]]:
    from studio.api.router import build_router

    with make_studio(settings) as studio:
        with gradio.Blocks(analytics_enabled=False) as demo:
            gradio.Markdown("page")
        _, url, _ = demo.launch(
            prevent_thread_lock=True,
            server_name=name,
            quiet=True,
            ssr_mode=False,
            auth=settings.login,
            app_kwargs={"routes": build_router(studio).routes, "docs_url": None},
        )
        try:
            with httpx.Client(base_url=url.replace("0.0.0.0", "127.0.0.1"), timeout=20) as client:
                yield studio, client
        finally:
            demo.close(verbose=False)


@pytest.fixture(scope="module")
def module_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, fake_pipeline: None) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")


@pytest.fixture
def server(settings: Settings) -> Iterator[tuple[Studio, httpx.Client]]:
    with served(settings.with_(tabs=("fake",), limits=Limits(upload_bytes=200_000))) as both:
        yield both


def finished(client: httpx.Client, job: dict, **kwargs: object) -> dict:
    for _ in range(400):
        answer = client.get(job["job_url"], **kwargs)
        assert answer.status_code == 200, answer.text
        if answer.json()["state"] in ("done", "failed", "cancelled"):
            return answer.json()
        time.sleep(0.02)
    raise AssertionError("the job does not end")


def send(client: httpx.Client, photo: Path, data: dict | None = None, **kwargs: object) -> httpx.Response:
    return client.post("/v1/fake", files=[("photos", ("my photo.png", photo.read_bytes()))], data=data, **kwargs)


def error_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    return answer.json()["error"]


def test_health_docs_and_openapi_beside_the_page(server: tuple[Studio, httpx.Client]) -> None:
    _, client = server
    assert "text/html" in client.get("/").headers["content-type"]
    health = client.get("/health").json()
    assert health["status"] == "ok" and health["pipelines"] == ["fake"] and health["active_jobs"] == 0
    docs = client.get("/docs")
    assert docs.status_code == 200 and "swagger" in docs.text.lower()
    assert "https://" not in docs.text, "the description must work without the internet"
    assert client.get("/docs/swagger-ui-bundle.js").text.startswith(("/*", "!function", "(function"))
    assert "css" in client.get("/docs/swagger-ui.css").headers["content-type"]
    assert client.get("/docs/other.js").status_code == 404
    schema = client.get("/openapi.json").json()
    form = schema["paths"]["/v1/fake"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert form["photos"]["maxItems"] == 4 and form["steps"]["maximum"] == 1000
    assert form["engine"]["enum"] == ["auto", "plain", "fancy"] and form["tuning_window"]["type"] == "integer"
    assert not any(path.startswith("/gradio_api") for path in schema["paths"])


def test_from_photo_to_zip(server: tuple[Studio, httpx.Client], photo: Path) -> None:
    studio, client = server
    answer = send(client, photo, {"steps": "2", "title": "hello"})
    assert answer.status_code == 202, answer.text
    done = finished(client, answer.json())
    assert done["state"] == "done" and done["summary"]["names"] == "my photo.png" and done["warnings"]
    run = client.get(done["run_url"]).json()
    assert run["run"]["title"] == "hello" and run["run"]["options"]["steps"] == 2
    assert "owner" not in run["run"] and str(studio.settings.workspace_dir) not in json.dumps(run)
    picture = next(f for f in run["files"] if f["role"] == "picture")
    got = client.get(picture["url"])
    assert got.headers["content-type"] == "image/png" and len(got.content) == picture["bytes"]
    assert "inline" in got.headers["content-disposition"] and got.headers["x-content-type-options"] == "nosniff"
    names = zipfile.ZipFile(io.BytesIO(client.get(done["zip_url"]).content)).namelist()
    assert set(names) == {"run.json", "picture.png", "poster.jpg"}
    names = zipfile.ZipFile(io.BytesIO(client.get(done["zip_url"], params={"inputs": "true"}).content)).namelist()
    assert "inputs/photos/my photo.png" in names
    assert list((studio.settings.workspace_dir / "uploads").iterdir()) == []
    assert client.get("/v1/runs").json()["total"] == 1

    again = client.post(f"{done['run_url']}/again").json()
    assert finished(client, again)["state"] == "done"
    assert client.get(again["run_url"]).json()["run"]["parents"] == [done["id"]]

    assert client.delete(done["run_url"]).status_code == 204
    error_of(client.get(done["run_url"]), 404)
    error_of(client.get(picture["url"]), 404)


def test_files_without_a_role_are_sorted_out(server: tuple[Studio, httpx.Client], photo: Path) -> None:
    _, client = server
    files = [("files", ("a.png", photo.read_bytes())), ("photos", ("b.png", photo.read_bytes()))]
    assert finished(client, client.post("/v1/fake", files=files).json())["summary"]["names"] == "b.png, a.png"
    assert "takes" in error_of(client.post("/v1/fake", files={"files": ("a.png", b"only text")}), 400)
    assert "empty" in error_of(client.post("/v1/fake", files={"files": ("a.png", b"")}), 400)


def test_stop(server: tuple[Studio, httpx.Client], photo: Path) -> None:
    _, client = server
    job = send(client, photo, {"steps": "1000", "pause": "0.02"}).json()
    assert job["state"] in ("queued", "running")
    assert [j["id"] for j in client.get("/v1/jobs").json()] == [job["id"]]
    error_of(client.delete(job["run_url"]), 400)  # a working run is not deleted
    assert client.delete(job["job_url"]).status_code == 202
    assert finished(client, job)["state"] == "cancelled"


def test_refusals_are_json(server: tuple[Studio, httpx.Client], photo: Path) -> None:
    studio, client = server
    assert "did you mean 'steps'" in error_of(send(client, photo, {"stepz": "1"}), 400)
    assert "steps" in error_of(send(client, photo, {"steps": "0"}), 400)
    assert "Photos" in error_of(client.post("/v1/fake", files={"extra": b"x"}), 400)
    assert "takes no" in error_of(client.post("/v1/fake", files={"other": b"x"}), 400)
    error_of(client.post("/v1/fake", json={"steps": 1}), 400)
    error_of(client.post("/v1/fake", content=b"nonsense", headers={"content-type": "multipart/form-data"}), 400)
    broken = {"content-type": "multipart/form-data; boundary=x"}
    error_of(client.post("/v1/fake", content=b"--y\r\nnonsense", headers=broken), 400)
    half = b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a.png"\r\n\r\nabc'
    assert "broke off" in error_of(client.post("/v1/fake", content=half, headers=broken), 400)
    error_of(client.get("/v1/nothing"), 404)
    error_of(client.get("/v1/runs/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), 404)
    error_of(client.get("/v1/runs/abc"), 404)
    error_of(client.get("/v1/jobs/abc"), 404)
    allowed = client.get("/v1/fake")
    assert "POST" in error_of(allowed, 405) and "POST" in allowed.headers["allow"]
    error_of(client.post("/health"), 405)
    error_of(client.get("/v1/runs", params={"limit": "many"}), 422)
    error_of(client.get("/v1/runs", params={"state": "odd"}), 422)
    job = send(client, photo, {"trouble": "bug"}).json()
    assert "reference" in finished(client, job)["error"]
    assert studio.runs.count() == 1  # the failure's record, nothing of the refused ones
    assert list((studio.settings.workspace_dir / "uploads").iterdir()) == []


def test_weights_tell_their_terms_but_no_places(server: tuple[Studio, httpx.Client]) -> None:
    studio, client = server
    studio.__dict__["weights"] = WeightsStore(studio.settings)
    listed = client.get("/v1/weights").json()
    assert len(listed) >= 10
    assert all(w["licence"] and w["page"].startswith("http") and w["state"] == "missing" and w["note"] for w in listed)
    assert str(studio.settings.weights_dir) not in json.dumps(listed)


def test_an_unexpected_error_is_json_too(server: tuple[Studio, httpx.Client], monkeypatch: pytest.MonkeyPatch) -> None:
    studio, client = server

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("/secret")

    monkeypatch.setattr(studio.runs, "list", broken)
    text = error_of(client.get("/v1/runs"), 500)
    assert "reference" in text and "secret" not in text


def test_names_of_uploads_are_tamed(server: tuple[Studio, httpx.Client], photo: Path) -> None:
    studio, client = server
    names = ["../../../evil.png", "..\\evil.png", "/etc/evil.png", "ünï cödé.png"]
    answer = client.post("/v1/fake", files=[("photos", (name, photo.read_bytes())) for name in names])
    done = finished(client, answer.json())
    assert done["summary"]["names"] == "evil.png, evil_2.png, evil_3.png, ünï cödé.png"
    folder = studio.runs.folder(done["id"])
    assert len(list((folder / "inputs" / "photos").iterdir())) == 4


def test_too_large_is_told_before_and_while_it_arrives(server: tuple[Studio, httpx.Client]) -> None:
    studio, client = server
    assert "larger" in error_of(client.post("/v1/fake", files={"photos": b"0" * 300_000}), 413)
    sent = []

    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a.png"\r\n\r\n'
        for _ in range(2000):
            sent.append(1)
            yield b"0" * 50_000

    status = chunked(client, chunks)
    assert status == 413
    assert len(sent) < 2000, "the server read the whole upload"
    assert list((studio.settings.workspace_dir / "uploads").iterdir()) == []
    error_of(client.post("/v1/fake", files=[("photos", (f"{i}.png", b"x")) for i in range(9)]), 413)
    assert client.get("/health").status_code == 200


def chunked(client: httpx.Client, chunks: Callable[[], Iterator[bytes]]) -> int:
    """Sends a body of unknown length until the server answers; returns the status."""
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port), timeout=10) as connection:
        head = f"POST /v1/fake HTTP/1.1\r\nHost: {host}:{port}\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n")
        connection.settimeout(0.0001)
        for block in chunks():
            connection.settimeout(10)
            try:
                connection.sendall(f"{len(block):x}\r\n".encode() + block + b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                break
            connection.settimeout(0.002)
            try:
                return int(connection.recv(4096).split()[1])
            except TimeoutError:
                continue
        connection.settimeout(10)
        return int(connection.recv(4096).split()[1])


def test_a_full_queue_is_told_before_the_upload(settings: Settings, photo: Path) -> None:
    with served(settings.with_(tabs=("fake",), limits=Limits(queue_size=1))) as (studio, client):
        jobs = [send(client, photo, {"steps": "1000", "pause": "0.02"}).json()]
        while client.get(jobs[0]["job_url"]).json()["state"] == "queued":
            time.sleep(0.01)
        jobs.append(send(client, photo).json())
        assert client.get(jobs[1]["job_url"]).json()["position"] == 1
        assert "waiting already" in error_of(send(client, photo), 503)
        assert studio.runs.count() == 2 and client.get("/health").json()["active_jobs"] == 2
        for job in jobs:
            client.delete(job["job_url"])
            finished(client, job)


def test_other_pages_cannot_act(server: tuple[Studio, httpx.Client], photo: Path) -> None:
    _, client = server
    assert "other web pages" in error_of(send(client, photo, headers={"origin": "https://evil.example"}), 403)
    error_of(send(client, photo, headers={"origin": "null"}), 403)
    error_of(send(client, photo, headers={"sec-fetch-site": "cross-site"}), 403)
    error_of(client.get("/v1/runs", headers={"origin": "https://evil.example", "host": "studio.example"}), 403)
    assert client.get("/health", headers={"origin": "https://evil.example"}).status_code == 200
    own = str(client.base_url).rstrip("/")
    assert send(client, photo, headers={"origin": own}).status_code == 202
    # A page whose name was made to point at this machine is not the user at it.
    assert client.get("/v1/runs", headers={"host": "evil.example"}).json()["total"] == 0
    assert client.get("/v1/runs").json()["total"] == 1


def test_login_token_and_session(settings: Settings, photo: Path) -> None:
    with served(settings.with_(tabs=("fake",), login=("ann", "secret"), api_token="t0ken")) as (_, client):
        error_of(client.get("/v1/runs"), 401)
        error_of(send(client, photo), 401)
        error_of(client.get("/v1/runs", headers={"authorization": "Bearer wrong"}), 401)
        error_of(client.get("/v1/runs", auth=("ann", "wrong")), 401)
        error_of(client.get("/v1/runs", headers={"authorization": "Basic ???"}), 401)
        assert client.get("/health").json().keys() == {"status", "version", "active_jobs"}
        bearer = {"authorization": "Bearer t0ken"}
        assert client.get("/v1/runs", headers=bearer).status_code == 200
        job = send(client, photo, headers=bearer).json()
        assert finished(client, job, headers=bearer)["state"] == "done"
        assert client.get("/v1/runs", auth=("ann", "secret")).status_code == 200
        assert client.post("/login", data={"username": "ann", "password": "secret"}).status_code == 200
        assert client.get("/v1/runs").status_code == 200  # by the page's cookie
        error_of(send(client, photo, headers={"origin": "https://evil.example"}), 403)


def test_elsewhere_everyone_sees_their_own(settings: Settings, photo: Path) -> None:
    public = settings.with_(tabs=("fake",), host="0.0.0.0", admin_token="boss")
    with served(public) as (studio, client):
        ann, bob = {"x-studio-secret": "ann's"}, {"x-studio-secret": "bob's"}
        job = finished(client, send(client, photo, headers=ann).json())
        assert client.get("/v1/runs", headers=ann).json()["total"] == 1
        assert client.get("/v1/runs", headers=bob).json()["total"] == 0
        assert client.get("/v1/runs").json()["total"] == 0
        assert client.get(job["run_url"], headers=bob).status_code == 200  # the durable link is for looking
        error_of(client.delete(job["run_url"], headers=bob), 403)
        error_of(client.post(f"{job['run_url']}/again", headers=bob), 403)
        error_of(client.get(job["zip_url"], params={"inputs": "true"}, headers=bob), 403)
        slow = send(client, photo, {"steps": "1000", "pause": "0.02"}, headers=ann).json()
        error_of(client.delete(slow["job_url"], headers=bob), 403)
        assert client.delete(slow["job_url"], headers=ann).status_code == 202
        assert "ann's" not in (studio.runs.folder(slow["id"]) / "run.json").read_text()
        assert client.get("/v1/runs", headers={"authorization": "Bearer boss"}).json()["total"] == 2
        finished(client, slow)
        assert client.delete("/v1/runs", headers=bob).json() == {"deleted": 0}
        error_of(client.delete("/v1/runs", params={"everyone": "true"}, headers=ann), 403)
        assert client.delete(job["run_url"], headers={"x-studio-admin": "boss"}).status_code == 204
        assert client.delete("/v1/runs", headers=ann).json() == {"deleted": 1}
