"""The quick renderer shows what the thorough one shows."""

import numpy as np
import pytest

from pipelines.render.shading import Camera, render_mesh
from pipelines.render.textured import TexturedMesh


def scene(turn: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Camera]:
    """A bumpy sheet, with a smooth texture."""
    grid = np.linspace(-1, 1, 9)
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    vertices = np.stack([x, y, 0.3 * np.sin(2 * x) * np.cos(3 * y)], axis=-1)
    cells = np.array([(r * 9 + c, r * 9 + c + 1, r * 9 + c + 10, r * 9 + c + 9) for r in range(8) for c in range(8)])
    faces = np.concatenate([cells[:, [0, 1, 2]], cells[:, [0, 2, 3]]])
    uv = np.stack([(x + 1) / 2, (y + 1) / 2], axis=-1)
    v, u = np.mgrid[:64, :64] / 63
    texture = (np.stack([u, v, 0.5 + 0.5 * np.sin(6 * u)], axis=-1) * 255).astype(np.uint8)
    c, s = np.cos(turn), np.sin(turn)
    E = np.eye(4)
    E[:3, :3], E[:3, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], (0, 0, 3)
    return vertices, faces, uv, texture, Camera(E, np.array([[140, 0, 79.5], [0, 140, 59.5], [0, 0, 1.0]]), 160, 120)


@pytest.mark.parametrize("samples", [1, 2])
def test_equal_to_the_thorough_renderer(samples: int) -> None:
    vertices, faces, uv, texture, camera = scene(0.6)
    quick = TexturedMesh(faces, uv, texture).draw(vertices, camera, (20, 200, 90), samples).astype(int)
    slow = render_mesh(
        camera, vertices, faces, texture=texture, uv=uv, background=(20, 200, 90), supersample=samples
    ).color
    away = np.abs(quick - slow).max(axis=-1)
    assert np.median(away) <= 1
    assert (away > 8).mean() < 0.02
    corners = TexturedMesh(faces, uv[faces], texture).draw(vertices, camera, (20, 200, 90), samples)
    assert np.array_equal(corners, quick)


def test_what_lies_behind_the_camera_is_left_out() -> None:
    vertices, faces, uv, texture, camera = scene(0.0)
    drawn = TexturedMesh(faces, uv, texture).draw(vertices - (0, 0, 6), camera, (7, 7, 7))
    assert (drawn == 7).all()
