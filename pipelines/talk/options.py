"""Options of the Talk pipeline: what a person may choose, with bounds and one line of explanation each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.base import Options

Language = Literal[
    "auto", "en", "zh", "yue", "ja", "ko", "ru", "ar", "hi", "el", "he", "th", "de", "fr", "es", "it", "pt", "nl", "pl",
    "tr", "vi",
]  # fmt: skip
ADVANCED = {"advanced": True}


class MouthOptions(Options):
    """The embedded engine's mouth."""

    strength: float = Field(1.0, ge=0.3, le=1.6, title="Opening", description="How far the mouth opens; 1 is natural")
    sounds: Literal["auto", "words", "phones", "sound"] = Field(
        "auto",
        title="Reading the voice",
        description="English words, single speech sounds, or loudness and colour alone; automatic tries them in turn",
    )
    own_teeth: bool = Field(True, title="Own teeth", description="Take the upper teeth from the clip where they show")


class StillOptions(Options):
    """What brings a photo to life beside its mouth."""

    fps: float = Field(25.0, ge=10, le=60, title="Frames per second", description="Frame rate of a speaking photo")
    motion: bool = Field(True, title="Head motion", description="Move the head of a photo gently")
    blinks: bool = Field(True, title="Blinks", description="Let a photo blink now and then")


class BlendOptions(Options):
    """How the lip networks' picture is put back into the face."""

    follow: Literal["built-in", "heygem"] = Field(
        "built-in",
        title="Following the face",
        description="What places the lip networks: the face mesh, or HeyGem's SCRFD, PFPLD and WHENet files",
    )
    mask: Literal["landmarks", "parsing", "xseg"] = Field(
        "landmarks",
        title="Mask",
        description="What is replaced: by landmarks, face parsing or XSeg; the last two need their files",
    )
    feather: float = Field(
        0.08, ge=0, le=0.3, title="Soft edge", description="Width of the soft edge relative to the crop"
    )
    restore: Literal["off", "auto", "always"] = Field(
        "off", title="Restore the face", description="Sharpen the face with GFPGAN: never, where blurred, or always"
    )
    batch: int = Field(4, ge=1, le=64, title="Batch", description="Frames that are computed at once")


class TalkOptions(Options):
    """Everything one can choose for a talking face."""

    engine: Literal["auto", "dinet", "wav2lip", "viseme"] = Field(
        "auto", title="Engine", description="How the mouth is made; auto takes the best one installed"
    )
    text: str = Field(
        "",
        max_length=5000,
        title="Text to say",
        description="Spoken by espeak-ng, a separate program, when no recording is given",
    )
    transcript: str = Field(
        "",
        max_length=20000,
        title="Transcript",
        description="Words of the recording, which make the lips exact; other languages than English need espeak-ng",
    )
    language: Language = Field(
        "auto",
        title="Language of text and transcript",
        description="Automatic goes by the alphabet, and takes Latin letters for English",
    )
    faces: Literal["largest", "all", "number"] = Field(
        "largest", title="Who speaks", description="The largest face, every face, or the one with the number below"
    )
    face_number: int = Field(
        1, json_schema_extra=ADVANCED, ge=1, le=16, title="Face number", description="Counted from the left, from 1"
    )
    preview_seconds: float = Field(
        0.0, ge=0, le=60, title="Preview", description="Only the first seconds of the voice; 0 is all of it"
    )
    offset_ms: int = Field(
        0,
        json_schema_extra=ADVANCED,
        ge=-500,
        le=500,
        title="Offset",
        description="Milliseconds by which the mouth comes later",
    )
    mark: bool = Field(True, title="AI-generated mark", description="A small visible mark in the upper right corner")
    watermark: str = Field(
        "",
        json_schema_extra=ADVANCED,
        max_length=60,
        title="Watermark",
        description="Words in the lower right corner; empty for none",
    )
    max_turn: float = Field(
        50.0,
        json_schema_extra=ADVANCED,
        ge=15,
        le=80,
        title="Largest turn",
        description="Degrees a face may look aside; frames beyond it stay as they are",
    )
    mouth: MouthOptions = Field(MouthOptions(), title="Built-in mouth", description="The embedded engine's mouth")
    still: StillOptions = Field(StillOptions(), title="Photo", description="What moves in a photo beside the mouth")
    blend: BlendOptions = Field(BlendOptions(), title="Lip networks", description="Blending and restoring the face")
