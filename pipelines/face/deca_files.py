"""DECA's result files under their original names and in their original text formats."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PART_ENDS = (16, 21, 26, 41, 47, 30, 35, 67)  # last point of each run of landmarks: not joined to the next
TILE = 224
WHITE, GREEN, RED = (255, 255, 255), (0, 255, 0), (255, 0, 0)


def vertex_lines(vertices: NDArray[np.floating], colours: NDArray[np.uint8] | None = None) -> str:
    """``v x y z`` lines with the shortest exact numbers, and 0..255 colours behind them when given."""
    rows = np.asarray(vertices).astype(np.float64).tolist()
    if colours is None:
        return "".join(f"v {x} {y} {z}\n" for x, y, z in rows)
    pairs = zip(rows, np.asarray(colours).astype(int).tolist(), strict=True)
    return "".join(f"v {x} {y} {z} {r} {g} {b}\n" for (x, y, z), (r, g, b) in pairs)


def coarse_obj(
    name: str,
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    uv: NDArray[np.floating],
    uv_faces: NDArray[np.integer],
) -> str:
    """Text of ``NAME.obj``: the textured head with the template's winding."""
    corners = np.stack([np.asarray(faces) + 1, np.asarray(uv_faces) + 1], axis=-1).reshape(-1, 6).tolist()
    return (
        f"mtllib {name}.mtl\n\n"
        + vertex_lines(vertices)
        + "".join(f"vt {u} {v}\n" for u, v in np.asarray(uv).astype(np.float64).tolist())
        + "usemtl FaceTexture\n"
        + "".join("f {}/{} {}/{} {}/{}\n".format(*row) for row in corners)
    )


def material(name: str) -> str:
    """Text of ``NAME.mtl``, naming the texture and the normal map beside it."""
    return f"newmtl FaceTexture\nmap_Kd {name}.png\ndisp {name}_normals.png"


def plain_obj(vertices: NDArray[np.floating], faces: NDArray[np.integer], reverse: bool = True) -> str:
    """Text of an OBJ without texture; the original writes these with reversed winding."""
    corners = (np.asarray(faces)[:, ::-1] if reverse else np.asarray(faces)) + 1
    return vertex_lines(vertices) + "".join(f"f {a} {b} {c}\n" for a, b, c in corners.tolist())


def detail_obj(vertices: NDArray[np.floating], faces: NDArray[np.integer], colours: NDArray[np.uint8]) -> str:
    """Text of ``NAME_detail.obj``: coloured vertices, the template's winding."""
    corners = (np.asarray(faces) + 1).tolist()
    return vertex_lines(vertices, colours) + "".join(f"f {a} {b} {c}\n" for a, b, c in corners)


def write_points(path: Path, points: NDArray[np.floating]) -> None:
    """``NAME_kpt2d.txt`` and ``NAME_kpt3d.txt``: one landmark per line, full precision."""
    np.savetxt(path, np.asarray(points))


def to_picture(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(C, H, W) in [0, 1] -> (H, W, C) uint8, truncated; RGB stays RGB."""
    return np.clip(np.asarray(image) * 255, 0, 255).transpose(1, 2, 0).astype(np.uint8)


def draw_landmarks(
    image: NDArray[np.uint8], points: NDArray[np.floating], visible: NDArray[np.floating] | None = None
) -> NDArray[np.uint8]:
    """Landmarks (68, 2) in pixels drawn on a copy of an RGB picture: green, hidden ones red, joined by white lines."""
    canvas = np.ascontiguousarray(image).copy()
    radius = max(int(min(canvas.shape[:2]) / 200), 1)
    points = np.asarray(points)
    for index, point in enumerate(points):
        if index in PART_ENDS:
            continue
        start, end = (tuple(int(v) for v in p[:2]) for p in (point, points[index + 1]))
        seen = visible is None or visible[index] > 0.5
        canvas = cv2.line(canvas, start, end, WHITE, radius)
        canvas = cv2.circle(canvas, start, radius, GREEN if seen else RED, radius * 2)
    return canvas


def normalised_to_pixels(points: NDArray[np.floating], height: int, width: int) -> NDArray[np.floating]:
    """Coordinates from -1 to 1 -> pixels as the original draws them."""
    points = np.array(points, dtype=np.float32)
    points[..., 0] = points[..., 0] * width / 2 + width / 2
    points[..., 1] = points[..., 1] * height / 2 + height / 2
    return points


def tile_row(images: list[NDArray[np.floating]], size: int = TILE) -> NDArray[np.uint8]:
    """Pictures (C, h, w) in [0, 1] at one height, joined left to right: (size, sum of widths, 3) uint8 RGB."""
    tiles = []
    for image in images:
        channels, height, width = image.shape
        columns = int(width * size / height)
        rows_at = (np.arange(size) * (height / size)).astype(int).clip(max=height - 1)
        columns_at = (np.arange(columns) * (width / columns)).astype(int).clip(max=width - 1)
        tile = image[:, rows_at][:, :, columns_at]
        tiles.append(np.repeat(tile, 3, axis=0) if channels == 1 else tile)
    row = np.concatenate(tiles, axis=2).transpose(1, 2, 0)
    return np.clip(row * 255, 0, 255).astype(np.uint8)
