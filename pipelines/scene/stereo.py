"""A rectified pair: the same sweep along the rows, with exact calibration where it is given."""

from __future__ import annotations

from collections.abc import Generator

from models.runtime.errors import InputError
from pipelines.base import Event, Progress, RunContext
from pipelines.scene.frames import WorkingPhoto
from pipelines.scene.options import SceneOptions
from pipelines.scene.prediction import Prediction
from pipelines.scene.state import SceneState


def stereo_prediction(
    photos: list[WorkingPhoto], options: SceneOptions, ctx: RunContext, state: SceneState
) -> Generator[Event, None, Prediction]:
    yield Progress("stereo")
    raise InputError("not yet")
