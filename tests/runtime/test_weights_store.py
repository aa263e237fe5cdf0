"""The store: what is installed, what is fetched, what is accepted, and what stays as it was."""

from __future__ import annotations

import hashlib
import threading
import time
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import torch

from models.runtime import weights as weights_module
from models.runtime.errors import Forbidden, InputError, NotFound, WeightsInvalid, WeightsMissing
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from models.runtime.weights_fetch import FetchProgress
from tests.runtime.file_server import Behaviour, FileServer, serve
from tests.runtime.test_weights_fetch import fake_pip

NET = b"net" * 1000
TFLITE = b"\x1c\0\0\0TFL3" + b"x" * 100


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(id: str, file: str, sources: str, **more: object) -> str:
    fields = {
        "id": id,
        "title": id.upper(),
        "file": file,
        "licence": "MIT",
        "commercial": "yes",
        "attribution": "A",
        "unlocks": "B.",
        **more,
    }
    lines = [f"{name} = {str(v) if isinstance(v, int) else repr(v)}" for name, v in fields.items() if name != "raw"]
    head = '[[weights]]\npipelines = ["face"]\nengines = ["deca"]\n'
    return head + "\n".join(lines) + f"\nsources = [{sources}]\n" + str(more.get("raw", "")) + "\n"


def registry(url: str = "http://127.0.0.1:9") -> str:
    wheel = (
        '{{ kind = "wheel", requirement = "nets==1.0", python = "3.12", platform = "any", member = "nets/{}.tflite" }}'
    )
    page = '{ kind = "page", url = "https://example.org/register", registration = true }'
    parts = [
        entry("direct", "a/net.bin", f'{{ kind = "url", url = "{url}/net.bin" }}', size=len(NET), sha256=sha(NET)),
        entry("gated", "b/model.pth", page, raw="layout = { tensors = 1, parameters = 6 }"),
        entry("hub", "c/net.bin", '{ kind = "hub", repo = "org/net", file = "sub/net.bin" }', size=len(NET)),
        entry(
            "bundle",
            "d",
            f'{{ kind = "url", url = "{url}/" }}',
            kind="folder",
            raw=f'members = [{{ file = "one.txt", url = "{url}/one.txt", size = 3, sha256 = "{sha(b"one")}" }}, '
            f'{{ file = "sub/two.json", url = "{url}/two.json", contains = "model-b" }}]',
        ),
    ]
    for name in ("first", "second"):
        parts.append(
            entry(
                name,
                f"e/{name}.tflite",
                wheel.format(name) + f', {{ kind = "url", url = "{url}/{name}.tflite" }}',
                group="embedded",
                size=len(TFLITE),
                sha256=sha(TFLITE),
            )
        )
    return "\n".join(parts)


@pytest.fixture
def server():
    files = {"net.bin": NET, "one.txt": b"one", "two.json": b'{"name": "model-b"}'}
    with serve(Behaviour(files | {"first.tflite": TFLITE, "second.tflite": TFLITE})) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> WeightsStore:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **options: None)
    return make_store(tmp_path, server)


def make_store(tmp_path: Path, server: FileServer, **settings: object) -> WeightsStore:
    path = tmp_path / "weights.toml"
    path.write_text(registry(server.url))
    return WeightsStore(Settings(weights_dir=tmp_path / "weights", **settings), path)


def leftovers(store: WeightsStore) -> list[str]:
    """Files under the weights folder that are neither installed nor locks."""
    known = [str(store.location(each.id)) for each in store.entries()]
    files = [str(p) for p in store.folder.rglob("*") if p.is_file() and ".locks" not in p.parts]
    return [f for f in files if not any(f.startswith(k) for k in known)]


def test_nothing_is_there_at_first(store: WeightsStore) -> None:
    assert not store.installed("direct")
    assert {store.status(each.id).state for each in store.entries()} == {"missing"}
    with pytest.raises(WeightsMissing, match="weights get direct"):
        store.path("direct")
    with pytest.raises(WeightsMissing, match=r"register and download it at https://example.org/register"):
        store.path("gated")
    with pytest.raises(NotFound, match="weights list"):
        store.get("unknown")
    assert not store.folder.exists()  # looking creates nothing


def test_a_direct_download_is_installed_and_verified(store: WeightsStore) -> None:
    seen: list[FetchProgress] = []
    assert store.fetch("direct", seen.append) == [store.path("direct")]
    assert store.path("direct") == store.folder / "a" / "net.bin"
    assert store.verify("direct").verified and seen[-1].note == "installed"
    assert leftovers(store) == []


def test_fetching_what_is_there_asks_nobody(store: WeightsStore, server: FileServer) -> None:
    store.fetch("direct")
    asked = len(server.behaviour.asked)
    store.fetch("direct")
    assert len(server.behaviour.asked) == asked


def test_another_file_than_published_is_refused(store: WeightsStore, server: FileServer) -> None:
    server.behaviour.files["net.bin"] = NET[::-1]
    with pytest.raises(WeightsMissing, match="SHA-256"):
        store.fetch("direct")
    assert not store.installed("direct") and leftovers(store) == []


def test_a_damaged_file_is_seen_and_replaced(store: WeightsStore) -> None:
    store.fetch("direct")
    store.location("direct").write_bytes(NET[:10])
    assert store.status("direct").state == "damaged"
    with pytest.raises(WeightsInvalid, match="damaged"):
        store.path("direct")
    store.fetch("direct")
    assert store.verify("direct").verified


def test_a_changed_file_of_the_right_size_is_found_by_verify(store: WeightsStore) -> None:
    store.fetch("direct")
    store.location("direct").write_bytes(b"x" + NET[1:])
    assert store.status("direct").state == "installed"
    found = store.verify("direct")
    assert found.state == "damaged" and not found.verified and "SHA-256" in found.note


@pytest.mark.parametrize(("setting", "message"), [("offline", "offline"), ("read_only", "read-only")])
def test_offline_and_read_only_say_where_the_file_belongs(
    tmp_path: Path, server: FileServer, store: WeightsStore, setting: str, message: str
) -> None:
    closed = make_store(tmp_path, server, **{setting: True})
    with pytest.raises(WeightsMissing, match=f"{message}.*put net.bin at"):
        closed.fetch("direct")
    assert server.behaviour.asked == []
    store.fetch("direct")
    assert closed.fetch("direct") == [closed.path("direct")]


def test_gated_files_are_not_fetched_but_explained(store: WeightsStore) -> None:
    with pytest.raises(WeightsMissing, match=r"register.*https://example.org/register.*weights add gated FILE"):
        store.fetch("gated")


def test_one_pip_download_serves_the_whole_group(store: WeightsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_pip(monkeypatch, {"nets/first.tflite": TFLITE, "nets/second.tflite": TFLITE})
    assert [path.name for path in store.fetch("embedded")] == ["first.tflite", "second.tflite"]
    assert len(commands) == 1 and leftovers(store) == []
    start = time.perf_counter()
    store.fetch("embedded")
    assert time.perf_counter() - start < 2 and len(commands) == 1


@pytest.mark.parametrize("members", [None, {"nets/first.tflite": TFLITE}, {"nets/first.tflite": TFLITE[::-1]}])
def test_the_second_source_fills_in(
    store: WeightsStore, server: FileServer, monkeypatch: pytest.MonkeyPatch, members: dict | None
) -> None:
    fake_pip(monkeypatch, members)
    notes: list[str] = []
    store.fetch("embedded", lambda progress: notes.append(progress.note))
    assert all(store.verify(id).verified for id in ("first", "second"))
    assert any("trying the next source" in note for note in notes)
    assert ("second.tflite", "") in server.behaviour.asked


def test_threads_fetch_together_once(store: WeightsStore, server: FileServer) -> None:
    threads = [threading.Thread(target=store.fetch, args=("direct",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(server.behaviour.asked) == 1 and store.verify("direct").verified


def test_a_folder_is_fetched_checked_and_installed_whole(store: WeightsStore, server: FileServer) -> None:
    server.behaviour.files["two.json"] = b'{"name": "model-c"}'
    with pytest.raises(WeightsMissing, match="belongs to another model"):
        store.fetch("bundle")
    assert not store.installed("bundle") and leftovers(store) == []
    server.behaviour.files["two.json"] = b'{"name": "model-b"}'
    folder = store.fetch("bundle")[0]
    assert (folder / "one.txt").read_bytes() == b"one" and (folder / "sub" / "two.json").exists()
    (folder / "one.txt").unlink()
    assert store.status("bundle").note == "missing or incomplete: one.txt"


def test_hub_files_go_through_the_hub_client(store: WeightsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def download(repo: str, file: str, *, local_dir: Path, endpoint: str, revision: str, tqdm_class: type) -> str:
        calls.append((repo, file, endpoint, revision))
        bar = tqdm_class(total=len(NET), unit="B", name="huggingface_hub.test")
        bar.update(len(NET))
        path = Path(local_dir) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(NET)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    seen: list[FetchProgress] = []
    store.fetch("hub", seen.append)
    assert store.path("hub") == store.folder / "c" / "net.bin" and leftovers(store) == []
    assert calls == [("org/net", "sub/net.bin", "https://huggingface.co", "main")]
    assert FetchProgress("hub", len(NET), len(NET), "downloading") in seen


def test_copies_in_the_hub_cache_count(store: WeightsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "cache" / "net.bin"
    cached.parent.mkdir()
    cached.write_bytes(NET)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file, revision: str(cached))
    assert store.path("hub") == cached and store.status("hub").where == "hub"
    assert store.fetch("hub") == [cached]
    with pytest.raises(Forbidden, match="Hugging Face cache"):
        store.remove("hub")


def checkpoint(path: Path, shape: tuple[int, ...] = (2, 3)) -> Path:
    torch.save({"w": torch.zeros(*shape)}, path)
    return path


def test_a_file_brought_by_the_user_is_checked_before_it_is_accepted(store: WeightsStore, tmp_path: Path) -> None:
    with pytest.raises(WeightsInvalid, match="8 parameters instead of 6"):
        store.add("gated", checkpoint(tmp_path / "wrong.pth", (2, 4)))
    assert not store.installed("gated") and leftovers(store) == []
    source = checkpoint(tmp_path / "right.pth")
    assert store.add("gated", source) == store.path("gated")
    assert source.exists() and store.verify("gated").verified and leftovers(store) == []


def test_a_refused_file_leaves_the_installed_one_alone(store: WeightsStore, tmp_path: Path) -> None:
    store.add("gated", checkpoint(tmp_path / "right.pth"))
    before = store.path("gated").read_bytes()
    (tmp_path / "page.pth").write_bytes(b"<html>please sign in</html>")
    with pytest.raises(WeightsInvalid):
        store.add("gated", tmp_path / "page.pth")
    assert store.path("gated").read_bytes() == before


def test_without_a_known_structure_only_the_published_file_will_do(store: WeightsStore, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(b"x" + NET[1:])
    with pytest.raises(WeightsInvalid, match="SHA-256"):
        store.add("direct", tmp_path / "net.bin")
    (tmp_path / "net.bin").write_bytes(NET)
    store.add("direct", tmp_path / "net.bin")
    assert store.verify("direct").verified


def test_zips_and_folders_are_searched_for_the_file(store: WeightsStore, tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "right.pth")
    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
        archive.writestr("__MACOSX/model.pth", b"junk")
        archive.write(source, "release/data/model.pth")
        archive.writestr("../../evil.pth", b"never written")
    store.add("gated", tmp_path / "release.zip")
    assert store.verify("gated").verified and not list(tmp_path.parent.rglob("evil.pth"))
    store.remove("gated")
    folder = tmp_path / "downloads" / "deep"
    folder.mkdir(parents=True)
    checkpoint(folder / "model.pth")
    store.add("gated", tmp_path / "downloads")
    assert store.installed("gated")
    with pytest.raises(InputError, match=r"holds no net\.bin"):
        store.add("direct", tmp_path / "release.zip")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(WeightsInvalid, match="ZIP"):
        store.add("direct", tmp_path / "broken.zip")


def test_folders_are_added_whole_or_not_at_all(store: WeightsStore, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "one.txt").write_bytes(b"one")
    with pytest.raises(InputError, match=r"two\.json"):
        store.add("bundle", folder)
    assert not store.location("bundle").exists()
    (folder / "sub" / "two.json").write_text("model-b")
    store.add("bundle", folder)
    assert store.verify("bundle").verified
    with pytest.raises(InputError, match="is a folder"):
        store.add("bundle", folder / "one.txt")


def test_where_nothing_may_be_written(tmp_path: Path, server: FileServer, store: WeightsStore) -> None:
    closed = make_store(tmp_path, server, read_only=True)
    with pytest.raises(Forbidden, match="read-only"):
        closed.add("gated", checkpoint(tmp_path / "right.pth"))
    store.add("gated", tmp_path / "right.pth")
    with pytest.raises(Forbidden, match="read-only"):
        closed.remove("gated")
    with pytest.raises(InputError, match="does not exist"):
        store.add("gated", tmp_path / "absent.pth")


def test_removing_takes_what_was_converted_along(store: WeightsStore, tmp_path: Path) -> None:
    store.add("gated", checkpoint(tmp_path / "right.pth"))
    converted = store.location("gated").with_name("model.pth.npz")
    converted.write_bytes(b"PK")
    store.remove("gated")
    assert not store.installed("gated") and not converted.exists()
    with pytest.raises(NotFound, match="not installed"):
        store.remove("gated")


def test_a_full_disk_is_told_before_the_download(store: WeightsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, need: int) -> None:
        raise weights_module.FetchFailed("the disk has 1 MiB free, 500 MiB are needed")

    monkeypatch.setattr(weights_module, "check_space", full)
    with pytest.raises(WeightsMissing, match="500 MiB are needed"):
        store.fetch("direct")


def test_aliases_lead_to_the_entry() -> None:
    store = WeightsStore(Settings(weights_dir=Path("absent")))
    assert store.get("da3-large-1.1").id == store.status("da3-large-1.1").id == "da3-large"
