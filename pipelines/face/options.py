"""Options of the Face pipeline: what a person may choose, with bounds and one line of explanation each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.base import Options


class FaceOptions(Options):
    """Everything one can choose for heads from photos and videos."""

    engine: Literal["auto", "facemesh"] = Field(
        "auto", title="Engine", description="How the head is made; auto takes the best one installed"
    )
    faces: Literal["all", "largest", "number"] = Field(
        "all", title="Which faces", description="Every face, the largest, or the one with the number below"
    )
    face_number: int = Field(1, ge=1, le=64, title="Face number", description="Counted from the left, from 1")
    pupil_distance_mm: float = Field(
        63.0,
        ge=40,
        le=80,
        title="Pupil distance",
        description="Millimetres between the pupils; sets the size in metres",
    )
    fov_degrees: float = Field(
        50.0,
        ge=10,
        le=110,
        title="Field of view",
        description="Degrees along the longer side, where the photo does not tell its focal length",
    )
    texture_size: Literal["512", "1024", "2048"] = Field(
        "1024", title="Texture", description="Side of the texture in pixels"
    )
    strength: float = Field(
        1.0, ge=0, le=1.5, title="Expression", description="How strongly a transferred expression is worn"
    )
    head_motion: bool = Field(True, title="Head motion", description="Let clips turn the head too")
    expression: bool = Field(
        True, title="Expression curves", description="52 expression curves, animated head and clip of a video"
    )
