"""Bodies that can dance: the studio's own character, a user's GLB, the mannequin and SMPL-X."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from models.bodies import mannequin
from models.bodies.smplx import SmplxData
from models.runtime.settings import Limits
from pipelines.character.inputs import CharacterSheet
from pipelines.export.glb_read import read_character
from pipelines.export.motion import Motion
from pipelines.render.skinned import SkinnedBody, a_pose, body_of

PIP = Path(__file__).resolve().parents[2] / "assets" / "character" / "pip.glb"


def character_body(sheet: CharacterSheet, limits: Limits) -> SkinnedBody:
    """The 3D character of a sheet, or the studio's own. Raises InputError for a model that cannot be moved."""
    return a_pose(read_character(sheet.model, limits)) if sheet.model is not None else pip()


@lru_cache(maxsize=1)
def pip() -> SkinnedBody:
    """The studio's own character."""
    return a_pose(read_character(PIP, Limits()))


def person_body(motion: Motion, smplx: Path | None) -> SkinnedBody:
    """The mannequin, or SMPL-X from its file, in the shape of the motion's person; arms lowered."""
    if smplx is not None:
        return a_pose(body_of(SmplxData.load(smplx), motion.betas))
    made = mannequin.load()
    return a_pose(body_of(made.data, motion.betas, made.colors))
