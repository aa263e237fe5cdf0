"""The page's parts without a browser: words, files sorted by kind, controls from options, access, addresses."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import gradio as gr
import numpy as np
import pytest
import trimesh
from PIL import Image
from pydantic import Field

from models.runtime.errors import InputError, LimitExceeded, NotFound
from models.runtime.settings import Limits, Settings
from pipelines.base import Engine, InputRole, Inputs, Options, Progress
from pipelines.export.glb import GlbBuilder
from pipelines.scene.options import SceneOptions
from studio import forms
from studio.intake import assign
from studio.runs import OutputRecord, RunStore
from studio.ui import components as html
from studio.ui.examples import lent
from studio.ui.framing import camera_distance
from studio.ui.options_panel import options_panel
from studio.ui.serving import address, shown
from studio.ui.tabs import scene
from studio.ui.thumbs import data_uri, strip
from studio.ui.visitor import caller_of

PIPELINE = SimpleNamespace(
    title="Scene",
    roles=(
        InputRole("photos", "Photos", ("image",), 0, 9),
        InputRole("video", "Video", ("video",)),
        InputRole("archive", "ZIP", ("archive", "folder")),
    ),
    engines=(
        Engine("da3", "Depth Anything 3", embedded=False, weights=(("da3-small",),)),
        Engine("sfm", "Structure from motion", embedded=True),
    ),
)


class Inner(Options):
    size: int = Field(4, ge=1, le=8, description="How large")


class Some(Options):
    engine: Literal["auto", "sfm"] = Field("auto", description="Which")
    share: float = Field(0.5, ge=0, le=1, description="How much")
    name: str | None = Field(None, description="Called")
    inner: Inner = Field(Inner(), title="Inner things", description="Inside")


class Weights:
    def __init__(self, *installed: str) -> None:
        self.have = installed

    def installed(self, name: str) -> bool:
        return name in self.have


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path)
    return path


def test_numbers_in_words() -> None:
    assert [html.bytes_text(n) for n in (0, 999, 1536, 150 * 2**20, 3 * 2**30)] == [
        "0 B", "999 B", "1.5 KB", "150 MB", "3.0 GB",
    ]  # fmt: skip
    assert [html.duration_text(s) for s in (0.4, 75, 3671)] == ["0:00", "1:15", "1:01:11"]
    assert [html.age_text(0, now) for now in (5, 120, 7200, 200_000)] == ["just now", "2 min ago", "2 h ago", "2 d ago"]


def test_foreign_text_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    pieces = [
        html.note(evil),
        html.badge(evil),
        html.intro(evil, evil),
        html.stats({evil: evil}),
        html.progress_box(evil, Progress("x", note=evil), 1.0),
        html.send_button(evil, "channel", f'"{evil}', f'"{evil}'),
        html.file_row([html.FileLink(evil, evil, evil, 1)]),
        html.two_columns([(evil, evil)]),
        html.transfer_box(evil, 0, 0, evil),
    ]
    assert all("<script>" not in piece for piece in pieces)


def test_engine_line_says_which_and_why() -> None:
    assert "takes over once its checkpoint is installed" in html.engine_line(PIPELINE, "auto", Weights())
    assert "reference engine" in html.engine_line(PIPELINE, "auto", Weights("da3-small"))
    asked = html.engine_line(PIPELINE, "da3", Weights())
    assert "da3-small" in asked
    assert "go-models" in asked


def test_files_find_their_role_by_content_in_counting_order(photo: Path, tmp_path: Path) -> None:
    names = []
    for name in ("p10.bin", "p2.jpg", "p1.png"):
        (tmp_path / name).write_bytes(photo.read_bytes())
        names.append(str(tmp_path / name))
    found = assign(PIPELINE, names)
    assert [p.name for p in found.get("photos")] == ["p1.png", "p2.jpg", "p10.bin"]
    packed = tmp_path / "photos.jpg"
    packed.write_bytes(b"PK\x05\x06" + b"\0" * 18)
    assert assign(PIPELINE, str(packed)).one("archive") == packed


@pytest.mark.parametrize(
    ("content", "words"), [(b"plain words", "is a text file"), (b"", "empty"), (None, "Nothing to work on")]
)
def test_files_of_no_use_are_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        assign(PIPELINE, [] if content is None else [str(path)])


def test_controls_come_from_the_model() -> None:
    with gr.Blocks():
        panel = options_panel(Some, skip={"engine"}, prefix="p")
    kinds = {spec.name: type(control) for spec, control in zip(panel.specs, panel.controls, strict=True)}
    assert kinds == {"share": gr.Slider, "name": gr.Textbox, "inner_size": gr.Slider}
    assert panel.control("share").maximum == 1
    assert panel.build([0.25, None, 6], {"engine": "sfm"}) == Some(engine="sfm", share=0.25, inner=Inner(size=6))
    with pytest.raises(InputError, match="inner_size"):
        panel.build([0.25, None, 60])
    updates = panel.fill({"share": 0.75})
    assert updates[panel.control("share")]["value"] == 0.75
    assert updates[panel.control("inner_size")]["value"] == 4


def test_pictures_in_the_page_respect_the_limits(photo: Path, tmp_path: Path) -> None:
    assert data_uri(photo, Limits()).startswith("data:image/jpeg;base64,")
    assert strip([photo] * 11, Limits()).count("<img") == 8
    assert "+3" in strip([photo] * 11, Limits())
    with pytest.raises(LimitExceeded):
        data_uri(photo, Limits(image_pixels=100))
    broken = tmp_path / "b.jpg"
    broken.write_bytes(photo.read_bytes()[:120])
    with pytest.raises(InputError):
        data_uri(broken, Limits())


def test_results_are_served_from_the_temporary_folder_alone(tmp_path: Path, photo: Path) -> None:
    settings = Settings(workspace_dir=tmp_path / "ws", weights_dir=tmp_path / "w")
    runs = RunStore(settings)
    record = runs.create("scene", Some(), Inputs({"photos": (photo,)}))
    (runs.folder(record.id) / "out.glb").write_bytes(b"glTF one")
    output = OutputRecord(role="scene", path="out.glb", kind="model3d", title="Scene")
    runs.save(record.model_copy(update={"outputs": (output,), "state": "done"}))

    first = Path(shown(runs, record.id, "out.glb"))
    assert first.is_relative_to(settings.temp_dir.absolute())
    assert shown(runs, record.id, "out.glb") == str(first)
    assert address(str(first)).startswith("gradio_api/file=/")
    for hidden in ("run.json", "../../runs.sqlite", "inputs/photos/a.jpg"):
        with pytest.raises(NotFound):
            shown(runs, record.id, hidden)

    fresh = runs.folder(record.id) / "new.part"
    fresh.write_bytes(b"glTF two")
    fresh.replace(runs.folder(record.id) / "out.glb")
    second = Path(shown(runs, record.id, "out.glb"))
    assert second != first
    assert second.read_bytes() == b"glTF two"
    runs.delete(record.id)
    assert not second.exists()
    runs.close()


@pytest.mark.skipif(not hasattr(os, "link"), reason="no hard links on this platform")
def test_serving_takes_no_second_copy_on_one_disk(tmp_path: Path, photo: Path) -> None:
    runs = RunStore(Settings(workspace_dir=tmp_path / "ws"))
    record = runs.create("scene", Some(), Inputs({"photos": (photo,)}))
    source = runs.folder(record.id) / "out.bin"
    source.write_bytes(b"x" * 1000)
    output = OutputRecord(role="data", path="out.bin", kind="data", title="Data")
    runs.save(record.model_copy(update={"outputs": (output,), "state": "done"}))
    assert Path(shown(runs, record.id, "out.bin")).samefile(source)
    runs.close()


def test_visitors_are_told_apart() -> None:
    near = Settings()
    far = Settings(host="0.0.0.0", admin_token="key")
    local = SimpleNamespace(headers={"host": "127.0.0.1:7860"}, username=None)
    named = SimpleNamespace(headers={"host": "studio.example"}, username="ada")
    assert caller_of(near, "s", local).sees_all
    assert caller_of(near, "s", local).admin
    assert not caller_of(near, "s", SimpleNamespace(headers={"host": "evil.example"}, username=None)).sees_all
    assert not caller_of(far, "s", local).sees_all
    assert caller_of(far, "s", local).owner == caller_of(far, "s", local).owner != caller_of(far, "t", local).owner
    assert caller_of(far, "s", named).owner == "login:ada"
    assert not caller_of(far, "s", local, "wrong").admin
    assert caller_of(far, "s", local, "key").admin
    assert caller_of(far, None, local).owner == ""


def test_camera_stands_where_it_sees_nearly_all_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (5000, 3)).astype(np.float32)
    points[0] = (0, 0, -40)  # one stray point moves the centre of the box, not the need for distance
    cloud = GlbBuilder()
    cloud.add_points(points, np.full((5000, 3), 128, np.uint8))
    path = cloud.save(tmp_path / "cloud.glb")
    distance = camera_distance(path)
    centre = (points.min(0) + points.max(0)) / 2
    seen = points - centre - np.array([0, 0, distance])
    inside = (seen[:, 2] < 0) & (np.abs(seen[:, 1]) < -seen[:, 2] * np.tan(0.4))
    assert inside.mean() > 0.96
    assert distance < 30
    box = trimesh.creation.box()
    box.export(tmp_path / "box.glb")
    assert camera_distance(tmp_path / "box.glb") is None
    assert camera_distance(tmp_path / "points.ply") is None


def test_examples_name_files_and_options_that_exist() -> None:
    found = scene.examples()
    assert found
    known = {spec.name for spec in forms.specs(SceneOptions)}
    for example in found:
        assert set(example.options) <= known
        forms.build(SceneOptions, example.options)
        assert all(path.is_file() for path in (*example.files, example.picture))


def test_example_files_are_lent_from_where_the_page_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    source = tmp_path / "site-packages" / "portrait.png"
    source.parent.mkdir()
    source.write_bytes(b"picture")
    copy = Path(lent(source))
    assert copy.is_relative_to(tmp_path / "served") and copy.name == "portrait.png"
    assert copy.read_bytes() == b"picture"
    copy.unlink()  # as the sweeper does
    assert Path(lent(source)).is_file()
