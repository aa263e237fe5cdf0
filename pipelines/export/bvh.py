"""BVH files: a skeleton's offsets and its motion as Euler angles, written and read.

Positions are written in centimetres, as animation programs expect; angles in degrees, channels Z, X, Y, which means
R = Rz Rx Ry. The root carries the translation. Joints without children end in a short "End Site".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.geometry.rotations import euler_to_matrix, matrix_to_euler
from models.geometry.skinning import chain_transforms
from models.runtime.errors import InputError
from pipelines.export.motion import Motion

CENTIMETRES = 100.0
ORDER = "ZXY"
_END = 0.05  # metres of an end site without a known length


@dataclass(frozen=True)
class Bvh:
    """What a file holds, in its own units: offsets (J, 3), positions of the root (T, 3), rotations (T, J, 3, 3).

    ``order`` holds each joint's Euler order; ``frame_time`` seconds.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    positions: np.ndarray
    rotations: np.ndarray
    frame_time: float

    def joints(self) -> np.ndarray:
        """Joint positions (T, J, 3) in the file's unit."""
        rest = np.zeros_like(self.offsets)
        for j, parent in enumerate(self.parents):
            rest[j] = self.offsets[j] + (rest[parent] if parent >= 0 else 0)
        turned = torch.from_numpy(self.rotations)
        placed, _ = chain_transforms(turned, torch.from_numpy(rest).expand(len(turned), -1, -1), self.parents)
        return placed[..., :3, 3].numpy() - rest[0] + self.positions[:, None]


def write_bvh(path: Path, motion: Motion) -> Path:
    """Writes a motion; a joint's children follow it directly, as the format demands."""
    children: dict[int, list[int]] = {}
    for joint, parent in enumerate(motion.parents):
        children.setdefault(parent, []).append(joint)
    order: list[int] = []
    lines: list[str] = ["HIERARCHY"]

    def describe(joint: int, depth: int) -> None:
        order.append(joint)
        pad = "\t" * depth
        parent = motion.parents[joint]
        offset = motion.rest_joints[joint] - (motion.rest_joints[parent] if parent >= 0 else motion.rest_joints[joint])
        kind = "JOINT" if parent >= 0 else "ROOT"
        channels = "6 Xposition Yposition Zposition" if parent < 0 else "3"
        lines.extend([f"{pad}{kind} {motion.names[joint]}", f"{pad}{{", f"{pad}\tOFFSET {_triple(offset)}"])
        lines.append(f"{pad}\tCHANNELS {channels} Zrotation Xrotation Yrotation")
        for child in children.get(joint, []):
            describe(child, depth + 1)
        if joint not in children:
            along = offset / max(float(np.linalg.norm(offset)), 1e-9) * _END if parent >= 0 else np.array([0, _END, 0])
            lines.extend([f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\tOFFSET {_triple(along)}", f"{pad}\t}}"])
        lines.append(f"{pad}}}")

    describe(children[-1][0], 0)
    angles = matrix_to_euler(torch.from_numpy(motion.matrices()), ORDER).numpy()
    degrees = np.degrees(np.unwrap(angles, axis=0))
    root = (np.asarray(motion.rest_joints[0]) + motion.transl) * CENTIMETRES
    table = np.concatenate([root, degrees[:, order].reshape(len(motion), -1)], axis=1)
    lines.extend(["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.8f}"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
        np.savetxt(file, table, fmt="%.5f")
    return path


def read_bvh(path: Path) -> Bvh:
    """Reads a BVH file with any order of channels.

    Raises:
        InputError: not a BVH file, or its motion does not fit its skeleton; the message says where.
    """
    try:
        words = _words(path)
        names, parents, offsets, channels = _hierarchy(words, path.name)
        count = int(_after(words, "Frames:", path.name))
        for expected in ("Frame", "Time:"):
            _expect(next(words), expected, path.name)
        frame_time = float(next(words))
        values = np.array(list(words), dtype=np.float64)
    except (StopIteration, ValueError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path.name} is not a readable BVH file: it ends early or holds no numbers") from error
    width = sum(len(c) for c in channels)
    if count < 1 or values.size != count * width:
        raise InputError(f"{path.name}: {values.size} numbers of motion instead of {count} frames x {width}")
    if not np.isfinite(values).all() or frame_time <= 0:
        raise InputError(f"{path.name}: its motion holds numbers that are not finite, or no frame time")
    table = values.reshape(count, width)
    rotations = np.zeros((count, len(names), 3, 3))
    positions = np.tile(offsets[0], (count, 1))
    at = 0
    for joint, kinds in enumerate(channels):
        own = table[:, at : at + len(kinds)]
        at += len(kinds)
        turns = [i for i, k in enumerate(kinds) if k.endswith("rotation")]
        letters = "".join(kinds[i][0] for i in turns)
        if len(turns) == 3:
            rotations[:, joint] = euler_to_matrix(torch.from_numpy(np.radians(own[:, turns])), letters).numpy()
        elif not turns:
            rotations[:, joint] = np.eye(3)
        else:
            raise InputError(f"{path.name}: joint {names[joint]} has {len(turns)} rotations; 3 or none are known")
        for i, k in enumerate(kinds):
            if joint == 0 and k.endswith("position"):
                positions[:, "XYZ".index(k[0])] = own[:, i]
    return Bvh(tuple(names), tuple(parents), offsets, positions, rotations, frame_time)


def _words(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield from line.split()


def _hierarchy(words: Iterator[str], name: str) -> tuple[list[str], list[int], np.ndarray, list[list[str]]]:
    _expect(next(words), "HIERARCHY", name)
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    stack: list[int] = []
    ending = False
    for word in words:
        if word in ("ROOT", "JOINT"):
            if word == "ROOT" and names:
                raise InputError(f"{name} holds more than one skeleton")
            parents.append(stack[-1] if stack else -1)
            names.append(next(words))
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            _expect(next(words), "{", name)
            stack.append(len(names) - 1)
        elif word == "End":
            next(words)
            _expect(next(words), "{", name)
            ending = True
        elif word == "OFFSET":
            vector = [float(next(words)) for _ in range(3)]
            if not ending:
                offsets[stack[-1]] = vector
        elif word == "CHANNELS":
            channels[stack[-1]] = [next(words) for _ in range(int(next(words)))]
        elif word == "}":
            if ending:
                ending = False
            else:
                stack.pop()
        elif word == "MOTION":
            break
        else:
            raise InputError(f"{name} is not a BVH file: {word!r} where its skeleton is described")
    if not names:
        raise InputError(f"{name} holds no skeleton")
    return names, parents, np.array(offsets), channels


def _after(words: Iterator[str], expected: str, name: str) -> str:
    _expect(next(words), expected, name)
    return next(words)


def _expect(word: str, expected: str, name: str) -> None:
    if word != expected:
        raise InputError(f"{name} is not a BVH file: {expected!r} expected, {word!r} found")


def _triple(vector: np.ndarray) -> str:
    return " ".join(f"{v * CENTIMETRES:.6f}" for v in vector)
