"""Small reconstructions that several tests look at, made once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from models.runtime.settings import Settings
from pipelines.base import Inputs, Progress, Result, RunContext, run
from pipelines.scene.options import SceneOptions
from pipelines.scene.pipeline import ScenePipeline

ROOM = Path(__file__).resolve().parents[2] / "examples" / "scene" / "room"


class NothingInstalled:
    """A weights store without weights: the embedded engine runs."""

    def installed(self, key: str) -> bool:
        del key
        return False


@dataclass(frozen=True)
class Job:
    """A finished job and what it said on the way."""

    folder: Path
    result: Result
    stages: tuple[str, ...]


def reconstruct(files: list[Path], folder: Path, **options: object) -> Job:
    """Runs the pipeline in ``folder`` as the studio does."""
    folder.mkdir(parents=True, exist_ok=True)
    context = RunContext(folder, Settings(), None, NothingInstalled())
    events = run(ScenePipeline(), Inputs({"photos": tuple(files)}), SceneOptions(engine="sfm", **options), context)
    stages: list[str] = []
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return Job(folder, end.value, tuple(dict.fromkeys(stages)))
        if isinstance(event, Progress):
            stages.append(event.stage)


@pytest.fixture(scope="session")
def room_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five neighbouring photos of the example room, 400 pixels wide."""
    folder = tmp_path_factory.mktemp("photos")
    files = []
    for path in sorted((ROOM / "photos").glob("*.jpg"))[3:8]:
        small = cv2.resize(cv2.imread(str(path)), (400, 300), interpolation=cv2.INTER_AREA)
        files.append(folder / path.name)
        cv2.imwrite(str(files[-1]), small)
    return files


@pytest.fixture(scope="session")
def room_job(room_photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The small room, reconstructed from a folder that also holds a text file named .jpg."""
    folder = tmp_path_factory.mktemp("given") / "room"
    folder.mkdir()
    for path in room_photos:
        shutil.copy(path, folder)
    (folder / "note.jpg").write_text("this is no picture")
    return reconstruct([folder], tmp_path_factory.mktemp("room_run"), sfm={"depth_side": 320})
