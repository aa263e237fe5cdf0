"""Options of the Body pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.base import Options


class PeopleOptions(Options):
    """Who is taken."""

    multi_person: bool = Field(
        True, title="Everybody", description="Follow all people; otherwise only the one largest in the picture"
    )
    detector: Literal["auto", "embedded", "onnx"] = Field(
        "auto",
        title="Detector",
        description="Who finds the people: the built-in search, or a YOLO or RT-DETR file you installed",
    )
    limit: int = Field(12, ge=1, le=16, title="Most people", description="At most this many people at a time")
    iou_thr: float = Field(
        0.5, ge=0.05, le=1, title="Overlap", description="Boxes that overlap more than this are one person"
    )
    bbox_thr: int = Field(
        0,
        ge=0,
        le=2000,
        title="Smallest box",
        description="Leave out people narrower than this many pixels or lower than three times it",
    )
    shortest: float = Field(
        0.2, ge=0, le=60, title="Shortest stay", description="Leave out people seen for fewer seconds than this"
    )


class MotionOptions(Options):
    """How the motion is made steady."""

    smoothing: float = Field(
        0.5, ge=0, le=1, title="Smoothing", description="0 keeps every tremble of the measurement, 1 is very calm"
    )
    hands: bool = Field(True, title="Hands", description="Read fingers and wrists where hands are large enough")
    face: bool = Field(
        True, title="Head and jaw", description="Read the head and the mouth where faces are large enough"
    )
    lock_feet: bool = Field(True, title="Hold feet", description="Keep standing feet from sliding")


class ShowOptions(Options):
    """What is drawn and written."""

    people: Literal["all", "biggest"] = Field(
        "all", title="Draw", description="Draw everybody, or only the person largest in each frame"
    )
    body: Literal["auto", "mannequin", "smplx"] = Field(
        "auto", title="Body", description="The body that is posed: SMPL-X where installed, else the studio's mannequin"
    )
    color: Literal["person", "clothes"] = Field(
        "person", title="Colour", description="One colour per person, or the mannequin's skin and clothes"
    )
    opacity: float = Field(0.9, ge=0.1, le=1, title="Opacity", description="How much the body covers the picture")
    show_verts: bool = Field(False, title="Points", description="Draw the body's vertices as dots instead of a surface")
    show_bbox: bool = Field(False, title="Boxes", description="Draw the boxes of the people found")
    side_view: bool = Field(True, title="Side view", description="Also make a video of the bodies seen from the side")
    save_mesh: bool = Field(
        False, title="Meshes", description="Write an OBJ mesh per person and frame into the archive"
    )


class RangeOptions(Options):
    """Which part of a video is used."""

    start: float = Field(0.0, ge=0, le=36_000, title="Start", description="Second at which the used part begins")
    end: float = Field(0.0, ge=0, le=36_000, title="End", description="Second at which it ends; 0 is the video's end")


class SmplerxOptions(Options):
    """The engine SMPLer-X."""

    variant: Literal["auto", "s32", "b32", "l32", "h32", "h32-correct"] = Field(
        "auto", title="Network", description="Size of the network; auto takes the largest that is installed"
    )
    batch: int = Field(4, ge=1, le=64, title="Batch", description="Crops that go through the network together")


class BodyOptions(Options):
    """Photo or video of people -> posed bodies, motion files and an overlay."""

    engine: Literal["auto", "smplerx", "blazepose"] = Field(
        "auto", title="Engine", description="How bodies are found: SMPLer-X where installed, else the built-in one"
    )
    people: PeopleOptions = PeopleOptions()
    motion: MotionOptions = MotionOptions()
    show: ShowOptions = ShowOptions()
    range: RangeOptions = RangeOptions()
    smplerx: SmplerxOptions = SmplerxOptions()
