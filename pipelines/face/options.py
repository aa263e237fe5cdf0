"""Options of the Face pipeline: what a person may choose, with bounds and one line of explanation each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.base import Options


class DecaOptions(Options):
    """What concerns the DECA engine alone; the files to save bear the original's names."""

    detector: Literal["auto", "blaze", "fan"] = Field(
        "auto", title="Detector", description="The embedded one, or FAN, which auto takes where it is installed"
    )
    crop: bool = Field(True, title="Crop", description="Cut the face out; off takes a photo that is cut already")
    crop_rule: Literal["kpt68", "bbox"] = Field(
        "kpt68", title="Crop rule", description="By the box of 68 landmarks, as DECA does, or by a detector's face box"
    )
    scale: float = Field(1.25, ge=1.0, le=2.5, title="Crop scale", description="Size of the crop against the face's")
    albedo: Literal["off", "auto", "bfm", "flame"] = Field(
        "off", title="Albedo space", description="Skin colour model (useTex): of the Basel face model or of FLAME"
    )
    extract_texture: bool = Field(
        True, title="Photo texture", description="With an albedo space: take the face's colours from the photo"
    )
    render_original: bool = Field(
        True, title="In the photo", description="Draw the heads into the whole photo too (render_orig)"
    )
    save_vis: bool = Field(True, title="Overview", description="NAME_vis.jpg: crop, landmarks, shape, details in a row")
    save_obj: bool = Field(
        True, title="OBJ", description="NAME.obj with material, texture and normals, and NAME_detail.obj"
    )
    save_depth: bool = Field(True, title="Depth picture", description="NAME_depth.jpg")
    save_kpt: bool = Field(False, title="Landmark files", description="NAME_kpt2d.txt and NAME_kpt3d.txt")
    save_mat: bool = Field(False, title="MATLAB file", description="NAME.mat with everything DECA computed")
    save_images: bool = Field(False, title="Single pictures", description="NAME_inputs.jpg, NAME_shape_images.jpg ...")
    tour: bool = Field(False, title="Tour", description="A video of the first head that turns and opens its jaw")
    smoothing: float = Field(
        0.5, ge=0, le=1, title="Smoothing", description="How steady the parameters of a video are held; 0 leaves them"
    )
    one_shape: bool = Field(
        True, title="One shape", description="The same shape, skin and wrinkles through a whole video"
    )
    batch: int = Field(8, ge=1, le=64, title="Batch", description="Crops that go through the networks together")


class FaceOptions(Options):
    """Everything one can choose for heads from photos and videos."""

    engine: Literal["auto", "deca", "facemesh"] = Field(
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
    deca: DecaOptions = Field(DecaOptions(), title="Engine deca", description="DECA: crops, files, videos")
