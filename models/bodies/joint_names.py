"""Joint names of common skeletons as those of SMPL-X: Mixamo, VRM, Unreal, 3ds Max bipeds, CMU and SMPL itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from models.bodies.joints import FINGERS

REQUIRED = (
    "pelvis",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "hip", "knee")),
)
_TOKENS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_NOISE = {"mixamorig", "mixamo", "rig", "bip", "j", "c", "def", "org", "armature", "character", "bind", "joint", "jnt"}
_MIDDLE = {"hips": "pelvis", "pelvis": "pelvis", "hip": "pelvis", "neck": "neck", "head": "head", "jaw": "jaw"}
_LIMBS = {
    **dict.fromkeys(("collar", "clavicle", "clav"), "collar"),
    **dict.fromkeys(("arm", "upperarm", "uparm", "shldr", "bicep"), "shoulder"),
    **dict.fromkeys(("forearm", "lowerarm", "lowarm", "elbow"), "elbow"),
    **dict.fromkeys(("hand", "wrist"), "wrist"),
    **dict.fromkeys(("upleg", "upperleg", "thigh", "hip"), "hip"),
    **dict.fromkeys(("leg", "lowerleg", "lowleg", "calf", "shin", "knee"), "knee"),
    **dict.fromkeys(("ankle",), "ankle"),
    **dict.fromkeys(("toebase", "toe", "toes", "ball"), "foot"),
    "eye": "eye",
}
_FINGER = re.compile(r"(?:hand)?(index|middle|ring|pinky|little|thumb)(metacarpal|proximal|intermediate|distal|\d+)?$")
_PARTS = {"metacarpal": 0, "proximal": 1, "intermediate": 2, "distal": 3}


def _read(name: str) -> tuple[str, str]:
    """(side or "", the rest of the words as one) of a joint's name."""
    plain = re.split(r"[:|]", name)[-1]
    words = [w.lower() for w in _TOKENS.findall(plain)]
    side = next((_SIDES[w] for w in words if w in _SIDES), "")
    words = [w for w in words if w not in _SIDES and w not in _NOISE]
    if words and words[0].isdigit():  # Bip01
        words = words[1:]
    return side, "".join(words)


def recognise(names: Sequence[str], parents: Sequence[int]) -> dict[str, int]:
    """SMPL-X joint name -> index among ``names``, as far as they are understood.

    The joints between pelvis and neck become spine1 to spine3 by their order. ``parents`` are -1 for roots.
    """
    found: dict[str, int] = {}
    read = [_read(name) for name in names]
    rests = {side: {rest for s, rest in read if s == side} for side in ("left", "right")}
    for index, (side, rest) in enumerate(read):
        own = _sided(side, rest, rests[side]) if side else _MIDDLE.get(re.sub(r"0?1$", "", rest))
        if own and own not in found:
            found[own] = index
    _thumbs_of_vrm1(found)
    _add_spine(found, parents)
    return found


def _sided(side: str, rest: str, others: set[str]) -> str | None:
    if rest == "shoulder":  # the collar bone where an upper arm of its own is there
        return f"{side}_{'collar' if others & {'arm', 'upperarm', 'uparm'} else 'shoulder'}"
    if rest == "foot":  # the toes' joint where an ankle of its own is there
        return f"{side}_{'foot' if 'ankle' in others else 'ankle'}"
    part = _LIMBS.get(re.sub(r"\d+$", "", rest))
    if part:
        return f"{side}_{part}"
    finger = _FINGER.match(rest)
    if not finger:
        return None
    name = "pinky" if finger[1] == "little" else finger[1]
    number = _PARTS.get(finger[2] or "")
    number = int(finger[2] or 0) if number is None else number
    if name == "thumb" and number == 0 and finger[2] == "metacarpal":
        return f"{side}_thumb0"
    return f"{side}_{name}{number}" if 1 <= number <= 3 else None


def _thumbs_of_vrm1(found: dict[str, int]) -> None:
    """VRM 1 calls the thumb's joints metacarpal, proximal and distal."""
    for side in ("left", "right"):
        first = found.pop(f"{side}_thumb0", None)
        if first is None:
            continue
        if f"{side}_thumb2" not in found and f"{side}_thumb1" in found:
            found[f"{side}_thumb2"] = found[f"{side}_thumb1"]
            found[f"{side}_thumb1"] = first


def _add_spine(found: dict[str, int], parents: Sequence[int]) -> None:
    top = found.get("neck", found.get("head"))
    if top is None or "pelvis" not in found:
        return
    chain: list[int] = []
    at = parents[top]
    while at >= 0 and at != found["pelvis"]:
        chain.append(at)
        at = parents[at]
    if at < 0:
        return
    chain.reverse()
    if len(chain) > 3:
        chain = [chain[i] for i in np.rint(np.linspace(0, len(chain) - 1, 3)).astype(int)]
    places = {1: ("spine2",), 2: ("spine1", "spine3"), 3: ("spine1", "spine2", "spine3")}
    for name, index in zip(places.get(len(chain), ()), chain, strict=True):
        found[name] = index


def missing(found: dict[str, int]) -> list[str]:
    """What a skeleton lacks to be moved like a person, in words."""
    lacking = [name for name in REQUIRED if name not in found]
    if "head" not in found and "neck" not in found:
        lacking.append("head")
    return [name.replace("_", " ") for name in lacking]


def bone_ends() -> dict[str, tuple[str, ...]]:
    """For joints with a bone: the joints it may end in, best first."""
    ends: dict[str, tuple[str, ...]] = {}
    for side in ("left", "right"):
        chain = {"collar": "shoulder", "shoulder": "elbow", "elbow": "wrist", "hip": "knee", "knee": "ankle"}
        ends |= {f"{side}_{a}": (f"{side}_{b}",) for a, b in chain.items()}
        ends[f"{side}_ankle"] = (f"{side}_foot",)
        ends[f"{side}_wrist"] = (f"{side}_middle1", f"{side}_index1")
        for finger in FINGERS:
            ends |= {f"{side}_{finger}{i}": (f"{side}_{finger}{i + 1}",) for i in (1, 2)}
    return ends
