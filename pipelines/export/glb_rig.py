"""Things that move in a GLB: skeletons with skinned meshes, morph targets, and animation clips for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pygltflib as gltf
import torch
from numpy.typing import ArrayLike, NDArray

from models.geometry.rotations import matrix_to_quaternion, wxyz_to_xyzw
from models.runtime.threads import one_thread
from pipelines.export.glb import GlbBuilder

_INFLUENCES = 4  # joints per vertex that every viewer supports


@dataclass(frozen=True)
class Skeleton:
    """The nodes of the joints, the index of the skin, and the rest positions (J, 3)."""

    nodes: tuple[int, ...]
    skin: int
    joints: NDArray[np.float64]


def add_skeleton(
    builder: GlbBuilder, names: Sequence[str], parents: Sequence[int], joints: ArrayLike, parent: int | None = None
) -> Skeleton:
    """Joints as nodes whose rest rotation is the identity.

    Args:
        names: one per joint.
        parents: joint each hangs on, -1 for the root, which comes first; parents come before their children.
        joints: (J, 3) rest positions in the mesh's frame.
    """
    joints = np.asarray(joints, dtype=np.float64)
    nodes: list[int] = []
    for i, (name, above) in enumerate(zip(names, parents, strict=True)):
        offset = joints[i] if above < 0 else joints[i] - joints[above]
        node = gltf.Node(name=name, translation=offset.tolist())
        nodes.append(builder.add_node(node, parent if above < 0 else nodes[above]))
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse[:, :3, 3] = -joints
    skin = gltf.Skin(joints=list(nodes), skeleton=nodes[0], inverseBindMatrices=builder.accessor(inverse))
    builder.gltf.skins.append(skin)
    return Skeleton(tuple(nodes), len(builder.gltf.skins) - 1, joints)


def bind(builder: GlbBuilder, mesh_node: int, skeleton: Skeleton, weights: ArrayLike) -> None:
    """Ties a mesh made by ``add_mesh`` to a skeleton; ``weights`` (V, J).

    The four strongest joints of each vertex are kept, and their weights made to sum to 1.
    """
    weights = np.asarray(weights, dtype=np.float64)
    kept = min(_INFLUENCES, weights.shape[1])
    order = np.argsort(-weights, axis=1, kind="stable")[:, :kept]
    strength = np.take_along_axis(weights, order, axis=1)
    strength /= np.maximum(strength.sum(axis=1, keepdims=True), 1e-12)
    ids = np.zeros((len(weights), _INFLUENCES), np.uint16)
    shares = np.zeros((len(weights), _INFLUENCES), np.float32)
    ids[:, :kept], shares[:, :kept] = np.where(strength > 0, order, 0), strength
    node = builder.gltf.nodes[mesh_node]
    attributes = builder.gltf.meshes[node.mesh].primitives[0].attributes
    attributes.JOINTS_0 = builder.accessor(ids, gltf.ARRAY_BUFFER)
    attributes.WEIGHTS_0 = builder.accessor(shares, gltf.ARRAY_BUFFER)
    node.skin = skeleton.skin


def add_morphs(builder: GlbBuilder, mesh_node: int, names: Sequence[str], offsets: ArrayLike) -> None:
    """Morph targets of a mesh: vertex offsets (K, V, 3) at weight 1, all starting at weight 0."""
    mesh = builder.gltf.meshes[builder.gltf.nodes[mesh_node].mesh]
    table = np.asarray(offsets, dtype=np.float32)
    mesh.primitives[0].targets = [
        gltf.Attributes(POSITION=builder.accessor(offset, gltf.ARRAY_BUFFER, bounds=True)) for offset in table
    ]
    mesh.weights = [0.0] * len(table)
    mesh.extras = {"targetNames": list(names)}


class Clip:
    """One animation; every track may have its own times in seconds, linear in between."""

    def __init__(self, builder: GlbBuilder, name: str) -> None:
        self._builder = builder
        self._animation = gltf.Animation(name=name)
        self._times: dict[bytes, int] = {}
        builder.gltf.animations.append(self._animation)

    def _track(self, node: int, path: str, times: ArrayLike, values: NDArray[np.floating]) -> None:
        seconds = np.asarray(times, dtype=np.float32)
        if len(seconds) != len(values) or (np.diff(seconds) <= 0).any():
            raise ValueError("a track needs one value per time, and times that rise")
        key = seconds.tobytes()
        if key not in self._times:
            self._times[key] = self._builder.accessor(seconds, bounds=True)
        rows = values if path != "weights" else values.reshape(-1)
        output = self._builder.accessor(rows.astype(np.float32))
        self._animation.samplers.append(gltf.AnimationSampler(input=self._times[key], output=output))
        target = gltf.AnimationChannelTarget(node=node, path=path)
        self._animation.channels.append(gltf.AnimationChannel(sampler=len(self._animation.samplers) - 1, target=target))

    def rotate(self, node: int, times: ArrayLike, rotations: ArrayLike) -> None:
        """Rotation matrices (T, 3, 3) of one node relative to its parent."""
        self._track(node, "rotation", times, _quaternions(rotations))

    def move(self, node: int, times: ArrayLike, positions: ArrayLike) -> None:
        """Translations (T, 3) of one node relative to its parent."""
        self._track(node, "translation", times, np.asarray(positions, dtype=np.float64))

    def morph(self, mesh_node: int, times: ArrayLike, weights: ArrayLike) -> None:
        """Morph weights (T, K) of one mesh."""
        self._track(mesh_node, "weights", times, np.asarray(weights, dtype=np.float64))

    def pose(
        self, skeleton: Skeleton, times: ArrayLike, rotations: ArrayLike, translation: ArrayLike | None = None
    ) -> None:
        """A whole skeleton: local rotations (T, J, 3, 3) and the root's shift from its rest position (T, 3)."""
        table = _quaternions(rotations)
        for joint, node in enumerate(skeleton.nodes):
            self._track(node, "rotation", times, table[:, joint])
        if translation is not None:
            self.move(skeleton.nodes[0], times, skeleton.joints[0] + np.asarray(translation, dtype=np.float64))


def _quaternions(rotations: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrices (T, ..., 3, 3) as quaternions (T, ..., 4) xyzw, those that follow one another on one side, for
    blending between them."""
    with one_thread():
        q = matrix_to_quaternion(torch.from_numpy(np.array(rotations, dtype=np.float64)))
        xyzw = wxyz_to_xyzw(q).numpy()
    turned = np.cumprod(np.where((xyzw[1:] * xyzw[:-1]).sum(axis=-1) < 0, -1.0, 1.0), axis=0)
    xyzw[1:] *= turned[..., None]
    return xyzw
