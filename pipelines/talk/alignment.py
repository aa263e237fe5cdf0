"""Upright face crops for the networks of this family, and putting such a crop back into its frame."""

from __future__ import annotations

import cv2
import numpy as np

# Left eye, right eye, nose, left and right mouth corner as seen in the picture, in a crop of 112 / 512 pixels.
ARCFACE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
FFHQ_512 = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043],
     [313.08905, 371.15118]]
)  # fmt: skip
FFHQ_BORDER = (132, 133, 135)  # RGB
# The same five points among the 468 of the face mesh: irises' places by the eye corners, nose tip, mouth corners.
MESH_EYES = ((33, 133), (362, 263))
MESH_NOSE, MESH_CORNERS = 1, (61, 291)
OVAL_AXES, OVAL_BORDER, OVAL_BLUR = (220, 160), 20, 201


def five_points(mesh: np.ndarray) -> np.ndarray:
    """The five points (5, 2) of face mesh landmarks (468, 2 or 3)."""
    eyes = [mesh[list(pair), :2].mean(axis=0) for pair in MESH_EYES]
    return np.stack([*eyes, mesh[MESH_NOSE, :2], mesh[MESH_CORNERS[0], :2], mesh[MESH_CORNERS[1], :2]])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3) of the plane's similarity that takes points (K, 2) nearest to others in least squares (Umeyama 1991)."""
    source, target = source.astype(np.float64), target.astype(np.float64)
    mean_a, mean_b = source.mean(axis=0), target.mean(axis=0)
    a, b = source - mean_a, target - mean_b
    u, stretch, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = (u * sign) @ vt
    scale = (stretch * sign).sum() / a.var(axis=0).sum()
    return np.concatenate([scale * rotation, (mean_b - scale * rotation @ mean_a)[:, None]], axis=1)


def arcface_matrix(points: np.ndarray, size: int = 112) -> np.ndarray:
    """Frame to an arcface crop; sizes that are multiples of 128 leave a wider margin at the sides."""
    unit, margin = (112, 0.0) if size % 112 == 0 else (128, 8.0)
    return similarity(points, (ARCFACE_112 + np.array([margin, 0.0])) * (size / unit))


def ffhq_matrix(points: np.ndarray) -> np.ndarray:
    """Frame to the 512-pixel crop of the face restorer, by least median of squares."""
    return cv2.estimateAffinePartial2D(points.astype(np.float32), FFHQ_512.astype(np.float32), method=cv2.LMEDS)[0]


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse (2, 3) of an affine map."""
    return cv2.invertAffineTransform(matrix)


def warp(image: np.ndarray, matrix: np.ndarray, size: int, border: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """The crop (size, size, 3), bilinear; ``border`` is the colour beyond the picture."""
    return cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=border)


def paste_square(frame: np.ndarray, face: np.ndarray, back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Puts a crop (S, S, 3) back with a soft square edge, whose width follows the face's size in the frame.

    Returns:
        The frame with the face (H, W, 3) uint8, and the mask (H, W) float32 that was used.
    """
    height, width = frame.shape[:2]
    face_there = cv2.warpAffine(face, back, (width, height))
    mask = cv2.warpAffine(np.ones(face.shape[:2], np.float32), back, (width, height))
    inner = cv2.erode(mask, np.ones((2, 2), np.uint8))
    edge = int(inner.sum() ** 0.5) // 20
    core = cv2.erode(inner, np.ones((edge * 2, edge * 2), np.uint8))
    blur = edge * 2
    soft = cv2.GaussianBlur(core, (blur + 1, blur + 1), 0)
    pasted = inner[..., None] * face_there
    out = soft[..., None] * pasted + (1 - soft[..., None]) * frame
    return out.astype(np.uint8), soft


def oval_mask(size: int = 512) -> np.ndarray:
    """(size, size) float32 0..1: an upright oval with a very soft edge."""
    mask = np.zeros((512, 512), np.float32)
    cv2.ellipse(mask, (256, 256), OVAL_AXES, 90, 0, 360, 255, -1)
    mask[:OVAL_BORDER] = mask[-OVAL_BORDER:] = 0
    mask[:, :OVAL_BORDER] = mask[:, -OVAL_BORDER:] = 0
    mask = cv2.stackBlur(mask, (OVAL_BLUR, OVAL_BLUR)) / 255
    return mask if size == 512 else cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)


def paste_oval(frame: np.ndarray, face: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Puts a crop (S, S, 3) uint8 back under the oval mask."""
    height, width = frame.shape[:2]
    there = cv2.warpAffine(face, back, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    mask = cv2.warpAffine(oval_mask(face.shape[0]), back, (width, height))[..., None]
    return (mask * there + (1 - mask) * frame).astype(np.uint8)
