"""Run folders, their index, and deletion that leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from models.runtime.errors import InputError, NotFound
from models.runtime.settings import Limits, Settings
from pipelines.base import Inputs
from studio import traces
from studio.runs import STOPPED, OutputRecord, RunRecord, RunStore, shown_folder
from tests.studio.fake import FakeOptions


@pytest.fixture
def runs(settings: Settings) -> RunStore:
    return RunStore(settings)


def made(runs: RunStore, inputs: Inputs, state: str = "done", **changes: object) -> RunRecord:
    """A run that has ended, with one result file."""
    record = runs.create("fake", FakeOptions(), inputs, owner=str(changes.pop("owner", "")))
    (runs.folder(record.id) / "scene.glb").write_bytes(b"glTF" + record.id.encode() * 50)
    outputs = (OutputRecord(role="scene", path="scene.glb", kind="model3d", title="Scene"),)
    size = traces.size_of(runs.folder(record.id))
    record = record.model_copy(update={"state": state, "outputs": outputs, "bytes": size, **changes})
    runs.save(record)
    return record


def test_ids_are_unguessable_and_no_flags(runs: RunStore, inputs: Inputs) -> None:
    ids = {runs.create("fake", FakeOptions(), inputs).id for _ in range(20)}
    assert len(ids) == 20 and all(len(i) == 24 and i[0] != "-" for i in ids)


def test_a_run_is_on_disk_and_in_the_index(runs: RunStore, inputs: Inputs, settings: Settings) -> None:
    record = made(runs, inputs, summary={"views": 2, "mean": 0.5, "ok": True, "word": "castle"})
    stored = json.loads((runs.folder(record.id) / "run.json").read_text())
    assert stored["id"] == record.id and stored["inputs"][0]["sha256"] == traces.hash_path(inputs.get("photos")[0])
    assert runs.get(record.id) == record
    copied = runs.inputs(record).one("photos")
    assert copied.is_relative_to(runs.folder(record.id)) and copied.read_bytes() == inputs.get("photos")[0].read_bytes()
    assert not list(runs.folder(record.id).glob("*.part"))


def test_lists_filter_search_and_page(runs: RunStore, inputs: Inputs) -> None:
    for number in range(5):
        made(runs, inputs, owner="ann" if number % 2 else "bob", title=f"castle {number}", created=1000.0 + number)
    made(runs, inputs, state="failed", error="no", title="100% odd_name")
    assert runs.count() == 6
    assert [r.title for r in runs.list(owner="ann")] == ["castle 3", "castle 1"]
    assert [r.title for r in runs.list(text="castle 2")] == ["castle 2"]
    assert [r.title for r in runs.list(text="100% odd_")] == ["100% odd_name"]
    assert runs.count(text="1_0") == 0
    assert runs.count(text=runs.list()[0].id[:10]) == 1
    assert runs.count(state="failed") == 1 and runs.count(pipeline="scene") == 0
    first, second = runs.list(state="done", limit=2), runs.list(state="done", limit=2, offset=2)
    assert [r.title for r in (*first, *second)] == ["castle 4", "castle 3", "castle 2", "castle 1"]


def test_no_id_leads_out_of_the_folder(runs: RunStore, inputs: Inputs) -> None:
    record = made(runs, inputs)
    for bad in ("../runs", "..", "", "a/b" * 12, "x" * 21, "é" * 24, "." * 24):
        with pytest.raises(NotFound):
            runs.get(bad)
        with pytest.raises(NotFound):
            runs.folder(bad)
    for bad in ("run.json", "../x", "/etc/passwd", "inputs/photos/my photo.png"):
        with pytest.raises(NotFound):
            runs.file(record.id, bad)
    assert runs.file(record.id, "scene.glb").is_file()


def test_an_output_that_links_elsewhere_is_not_served(runs: RunStore, inputs: Inputs, tmp_path: Path) -> None:
    record = made(runs, inputs)
    (tmp_path / "secret").write_text("x")
    (runs.folder(record.id) / "scene.glb").unlink()
    (runs.folder(record.id) / "scene.glb").symlink_to(tmp_path / "secret")
    with pytest.raises(NotFound):
        runs.file(record.id, "scene.glb")


def test_delete_leaves_no_trace(runs: RunStore, inputs: Inputs, settings: Settings, photo: Path) -> None:
    record, other = made(runs, inputs), made(runs, inputs)
    sha = record.inputs[0].sha256
    for place in (settings.measurements_dir / "face" / f"{sha}.npz", settings.temp_dir / "0" / "untouched.txt"):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"other")
    for name, source in (("a", runs.folder(record.id) / "scene.glb"), ("b", photo)):
        (settings.temp_dir / name).mkdir(parents=True)
        shutil.copy(source, settings.temp_dir / name / source.name)
    runs.zip(record.id)
    earlier = shown_folder(settings, record.id) / "1-2" / "scene.glb"  # shown before the scene was filtered again
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"an earlier version")

    runs.delete(record.id)
    assert not runs.folder(record.id).exists()
    with pytest.raises(NotFound):
        runs.get(record.id)
    assert [p.name for p in settings.temp_dir.rglob("*") if p.is_file()] == ["untouched.txt"]
    assert (settings.measurements_dir / "face" / f"{sha}.npz").exists()  # another run has the same photo
    runs.delete(other.id)
    assert not list(settings.measurements_dir.rglob("*.npz"))
    assert [p.name for p in settings.temp_dir.iterdir() if p.name not in ("0", "runs")] == []
    assert list(settings.runs_dir.iterdir()) == [] and photo.exists()


def test_a_working_run_is_not_deleted(runs: RunStore, inputs: Inputs) -> None:
    record = runs.create("fake", FakeOptions(), inputs)
    with pytest.raises(InputError, match="stop it first"):
        runs.delete(record.id)


def test_zip_holds_results_and_inputs_only_when_asked(runs: RunStore, inputs: Inputs) -> None:
    record = made(runs, inputs, owner="browser:abc")
    with zipfile.ZipFile(runs.zip(record.id)) as archive:
        assert set(archive.namelist()) == {"run.json", "scene.glb"}
        assert b"browser:abc" not in archive.read("run.json")
    with zipfile.ZipFile(runs.zip(record.id, inputs=True)) as archive:
        assert set(archive.namelist()) == {"run.json", "scene.glb", "inputs/photos/my photo.png"}
    failed = made(runs, inputs, state="failed")
    runs.save(failed.model_copy(update={"outputs": ()}))
    with pytest.raises(InputError):
        runs.zip(failed.id)


def test_equal_names_and_folders_and_links(runs: RunStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_text(name)
    (tmp_path / "b" / "link").symlink_to("/etc")
    record = runs.create(
        "fake", FakeOptions(), Inputs({"photos": (tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", tmp_path / "b")})
    )
    one, two, folder = runs.inputs(record).get("photos")
    assert (one.name, two.name) == ("x.png", "x_2.png") and two.read_text() == "b"
    assert sorted(p.name for p in folder.iterdir()) == ["x.png"]
    assert [i.name for i in record.inputs] == ["x.png", "x.png", "b"]


def test_sweep_by_age_and_size_spares_the_living(settings: Settings, inputs: Inputs, tmp_path: Path) -> None:
    runs = RunStore(settings.with_(limits=Limits(run_age_days=10, runs_bytes=2500)))
    now = time.time()
    old = made(runs, inputs, created=now - 11 * 86400, bytes=10)
    big = [made(runs, inputs, created=now - 1000 + n, bytes=1000) for n in range(4)]
    living = runs.create("fake", FakeOptions(), inputs)
    runs.save(living.model_copy(update={"created": now - 99 * 86400, "state": "running"}))
    cached = settings.measurements_dir / "old.npz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x")
    swept = runs.sweep(now)
    assert set(swept.runs) == {old.id, big[0].id, big[1].id}
    assert {r.id for r in runs.list()} == {big[2].id, big[3].id, living.id}
    assert cached.exists() and swept.bytes == 2010


def test_runs_of_a_dead_server_are_ended(settings: Settings, inputs: Inputs) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from models.runtime.settings import Settings\n"
        "from pipelines.base import Inputs, Options\n"
        "from studio.runs import RunStore\n"
        "runs = RunStore(Settings(workspace_dir=Path(sys.argv[1])))\n"
        "record = runs.create('fake', Options(), Inputs({'photos': (Path(sys.argv[2]),)}))\n"
        "runs.save(record.model_copy(update={'state': 'running'}))\n"
        "(runs.folder(record.id) / 'half.bin').write_bytes(b'x')\n"
        "print(record.id)\n"
    )
    root = Path(__file__).resolve().parents[2]
    arguments = [sys.executable, "-c", code, str(settings.workspace_dir), str(inputs.get("photos")[0])]
    run_id = subprocess.run(arguments, cwd=root, check=True, capture_output=True, text=True).stdout.strip()
    runs = RunStore(settings)
    living = runs.create("fake", FakeOptions(), inputs)
    record = runs.get(run_id)
    assert record.state == "failed" and record.error == STOPPED
    assert [p.name for p in runs.folder(run_id).iterdir()] == ["run.json"]
    assert RunStore(settings).get(living.id).state == "queued"  # its process, this one, still lives


def test_the_index_comes_back_from_the_folders(runs: RunStore, inputs: Inputs, settings: Settings) -> None:
    record, lost = made(runs, inputs), made(runs, inputs)
    runs.close()
    shutil.rmtree(settings.runs_dir / lost.id)
    for file in settings.workspace_dir.glob("runs.sqlite*"):
        file.unlink()
    (settings.runs_dir / f".gone-{'c' * 24}").mkdir()  # a delete that a crash cut short
    broken = settings.runs_dir / ("b" * 24)
    broken.mkdir()
    (broken / "run.json").write_text("{")
    again = RunStore(settings)
    assert [r.id for r in again.list()] == [record.id]
    assert not list(settings.runs_dir.glob(".gone-*"))


def test_many_threads_share_one_store(runs: RunStore, inputs: Inputs) -> None:
    errors = []

    def work() -> None:
        try:
            for _ in range(5):
                record = made(runs, inputs)
                runs.list(text="fake")
                runs.delete(record.id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and runs.count() == 0
