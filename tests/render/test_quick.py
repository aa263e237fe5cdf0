"""Quick drawing shows what careful drawing shows."""

from __future__ import annotations

import numpy as np
import trimesh

from pipelines.render.quick import quick_mesh
from pipelines.render.shading import Camera, Lights, render_mesh


def test_it_agrees_with_the_careful_renderer() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    vertices, faces = np.asarray(ball.vertices) + np.array([0.2, -0.1, 0]), np.asarray(ball.faces)
    normals = np.asarray(ball.vertex_normals)
    camera = Camera(np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2.0]]), np.array(
        [[120.0, 0, 60], [0, 120, 50], [0, 0, 1]]), 120, 100)  # fmt: skip
    colors = np.random.default_rng(0).integers(90, 160, (len(vertices), 3)).astype(np.uint8)
    color, alpha = quick_mesh(camera, vertices, faces, colors, normals, Lights())
    want = render_mesh(camera, vertices, faces, colors, normals=normals, lights=Lights(), supersample=1)
    both = (alpha > 0) & (want.alpha > 0)
    assert ((alpha > 0) == (want.alpha > 0)).mean() > 0.995 and both.sum() > 2000
    assert np.abs(color[both].astype(int) - want.color[both]).mean() < 3


def test_back_faces_and_what_is_too_near_are_left_out() -> None:
    triangle = np.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]])
    camera = Camera(np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3.0]]), np.array(
        [[40.0, 0, 20], [0, 40, 20], [0, 0, 1]]), 40, 40)  # fmt: skip
    normals = np.tile([0.0, 0, 1], (3, 1))
    red = np.array([200, 10, 10], np.uint8)
    front, back = np.array([[0, 1, 2]]), np.array([[0, 2, 1]])
    assert quick_mesh(camera, triangle, front, red, normals, Lights())[1].any()
    assert not quick_mesh(camera, triangle, back, red, normals, Lights())[1].any()
    assert not quick_mesh(camera, triangle + np.array([0, 0, 3.0]), front, red, normals, Lights())[1].any()
