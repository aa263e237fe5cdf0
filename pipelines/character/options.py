"""Options of the Character pipeline: what a person may choose, with bounds and one line of explanation each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.base import Options

Format = Literal["mp4", "webm", "apng", "png", "gif", "sprites"]


class OutputOptions(Options):
    """What is written. The contact sheet always comes along."""

    formats: tuple[Format, ...] = Field(
        ("mp4",),
        title="Files",
        description="mp4 plays everywhere; webm, apng and png keep transparency; gif and sprites for the web and games",
        json_schema_extra={"advanced": False},
    )
    fps: float = Field(0.0, ge=0, le=60, title="Frames per second", description="0 keeps the rate of the motion")
    keep_sound: bool = Field(
        True, title="Keep the sound", description="Without music of its own the mp4 gets the driving video's sound"
    )
    udp: bool = Field(
        False, title="UDP frames", description="Also write the motion as UDP frames (NPZ in a ZIP), as CoNR reads them"
    )
    sprite_side: int = Field(192, ge=32, le=512, title="Sprite size", description="Longer side of a sprite in pixels")


class ViewOptions(Options):
    """The camera that looks at a moving body."""

    yaw: float = Field(0.0, ge=-180, le=180, title="Turn", description="Degrees by which the character is turned")
    elevation: float = Field(0.0, ge=-60, le=60, title="Height", description="Degrees from which the camera looks down")
    orbit: float = Field(
        0.0, ge=-180, le=180, title="Orbit", description="Degrees a second by which the camera goes round"
    )
    zoom: float = Field(1.0, ge=0.3, le=4, title="Zoom", description="1 fits the whole motion into the picture")
    follow: bool = Field(
        True, title="Follow", description="Keep a wandering figure in the middle; off, the camera stands still"
    )
    face_camera: Literal["auto", "always", "never"] = Field(
        "auto",
        title="Face the viewer",
        description="Turn a clip so that the figure looks at the viewer on average; auto does so for BVH files",
    )


class RangeOptions(Options):
    """Which part of the motion is used."""

    start: float = Field(0.0, ge=0, le=36_000, title="Start", description="Second at which the used part begins")
    end: float = Field(0.0, ge=0, le=36_000, title="End", description="Second at which it ends; 0 is the motion's end")
    person: int = Field(
        0, ge=0, le=16, title="Person", description="Whose motion in a video of several; 0 takes the most prominent"
    )
    still_place: bool = Field(
        False, title="On the spot", description="Leave out walking about and keep only what the limbs do"
    )


class UdpOptions(Options):
    """The correspondence engine."""

    neighbours: int = Field(
        6, ge=1, le=16, title="Neighbours", description="Sheet pixels that are blended into one; 1 takes the nearest"
    )
    oversample: Literal[1, 2, 3] = Field(
        2, title="Oversampling", description="Frames are made this many times larger and averaged down"
    )


class ConrOptions(Options):
    """The CoNR networks."""

    size: Literal[256, 384, 512] = Field(
        256, title="Network size", description="Side of the square the networks paint, in pixels"
    )
    batch: int = Field(2, ge=1, le=32, title="Batch", description="Frames painted at once")
    previous: int = Field(
        0, ge=0, le=4, title="Steadiness", description="Painted frames that serve as further references for the next"
    )
    detect: bool = Field(
        False,
        title="Poses from drawings",
        description="The motion's pictures are drawings, whose pose the networks estimate; off, they hold UDPs",
    )
    driver: Literal["auto", "character", "mannequin", "smplx"] = Field(
        "auto", title="Driving body", description="The body whose surface tells the networks the pose of a motion"
    )


class PuppetOptions(Options):
    """The paper puppet."""

    arms: Literal["auto", "front", "side", "camera"] = Field(
        "auto",
        title="Arms seen from",
        description="The side from which the arms' motion is laid into the picture; front and side turn with the body",
    )
    legs: Literal["auto", "front", "side", "camera"] = Field(
        "auto", title="Legs seen from", description="The same for the legs; camera looks from where the motion was seen"
    )
    foreshortening: float = Field(
        0.0, ge=0, le=1, title="Foreshortening", description="How much limbs shorten that point at the viewer"
    )
    swing: float = Field(
        0.3, ge=0, le=1, title="Swing", description="How much hair, skirts and other loose parts swing behind"
    )


class CharacterOptions(Options):
    """A character and a motion -> the character moving."""

    engine: Literal["auto", "conr", "udp", "puppet"] = Field(
        "auto", title="Engine", description="How frames are made; auto takes what fits the character that was given"
    )
    move: Literal["dance", "wave"] = Field(
        "dance", title="Built-in motion", description="What the character does when no motion is given"
    )
    size: int = Field(
        512, ge=256, le=1024, multiple_of=128, title="Height", description="Height of the video in pixels"
    )
    shape: Literal["square", "portrait", "landscape"] = Field(
        "square", title="Shape", description="Proportions of the video: 1:1, 3:4 or 16:9"
    )
    background: Literal["transparent", "color", "image"] = Field(
        "color",
        title="Background",
        description="Nothing (white where a format cannot be transparent), one colour, or a picture that was given",
    )
    color: str = Field(
        "#f4f1ea",
        pattern=r"^#[0-9a-fA-F]{6}$",
        title="Background colour",
        description="As #rrggbb",
        json_schema_extra={"widget": "color"},
    )
    output: OutputOptions = OutputOptions()
    view: ViewOptions = ViewOptions()
    range: RangeOptions = RangeOptions()
    udp: UdpOptions = UdpOptions()
    conr: ConrOptions = ConrOptions()
    puppet: PuppetOptions = PuppetOptions()

    @property
    def picture(self) -> tuple[int, int]:
        """(width, height) of the video in pixels, both even."""
        width = {"square": self.size, "portrait": self.size * 3 // 4, "landscape": self.size * 16 // 9}[self.shape]
        return width - width % 2, self.size
