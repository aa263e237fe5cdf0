"""The studio's own drawing for the paper puppet: a child in a raincoat with a cat's hood, as felt pens would draw her.

Shapes are filled with uneven hatching, outlines wander a little and change in width like a hand's. Everything is drawn
three times too large and averaged down.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

WIDTH, HEIGHT = 620, 820
FINE = 3  # pixels drawn per pixel kept
INK = (52, 44, 66)
COAT, DARK, SKIN, BOOT, SOCK, CHEEK, WHITE = (
    (247, 190, 62), (226, 158, 40), (250, 218, 190), (84, 148, 168), (214, 84, 92), (244, 150, 140), (252, 249, 240),
)  # fmt: skip
JOINTS = {
    "root": (310, 545), "hip": (310, 545), "torso": (310, 352), "neck": (310, 205),
    "right_shoulder": (252, 362), "right_elbow": (178, 412), "right_hand": (108, 458),
    "left_shoulder": (368, 362), "left_elbow": (442, 412), "left_hand": (512, 458),
    "right_hip": (272, 560), "right_knee": (264, 644), "right_foot": (256, 736),
    "left_hip": (348, 560), "left_knee": (356, 644), "left_foot": (364, 736),
}  # fmt: skip
Points = Sequence[tuple[float, float]]


class Paper:
    """A transparent sheet that is drawn on."""

    def __init__(self, seed: int) -> None:
        self.colours = np.zeros((HEIGHT * FINE, WIDTH * FINE, 3), np.float32)
        self.alpha = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.float32)
        self.random = np.random.default_rng(seed)

    def _curve(self, points: Points, closed: bool) -> np.ndarray:
        """A smooth line (N, 2) through points: Catmull-Rom."""
        p = np.array(points, np.float64) * FINE
        p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
        t = np.linspace(0, 1, 24, endpoint=False)[:, None]
        pieces = []
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
            pieces.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
        return np.concatenate([*pieces, p[-2:-1]])

    def _paint(self, mask: np.ndarray, colour: np.ndarray) -> None:
        share = mask[..., None]
        self.colours = self.colours * (1 - share) + colour * share
        self.alpha = np.maximum(self.alpha, mask)

    def fill(self, points: Points, colour: tuple[int, int, int], hatch: float = 0.09) -> None:
        """A shape in felt pen: stripes where strokes overlap, a little grain."""
        mask = np.zeros(self.alpha.shape, np.uint8)
        cv2.fillPoly(mask, [np.rint(self._curve(points, True)).astype(np.int32)], 255, cv2.LINE_AA)
        y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32) / FINE
        angle = self.random.uniform(0.5, 0.9)
        along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        stripes = np.sin(across / 3.1 + 0.9 * np.sin(along / 37) + self.random.uniform(0, 6))
        grain = cv2.GaussianBlur(self.random.standard_normal(mask.shape).astype(np.float32), (0, 0), 1.6)
        tone = 1 - hatch * (0.5 + 0.5 * stripes) ** 3 - 0.25 * hatch * grain
        self._paint(mask.astype(np.float32) / 255, np.clip(np.array(colour) * tone[..., None], 0, 255))

    def line(
        self, points: Points, width: float = 6.0, colour: tuple[int, int, int] = INK, closed: bool = False
    ) -> None:
        """A stroke whose width breathes and whose way trembles."""
        curve = self._curve(points, closed)
        steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))]
        count = max(4, int(steps[-1] / 2))
        at = np.linspace(0, steps[-1], count)
        way = np.stack([np.interp(at, steps, curve[:, k]) for k in (0, 1)], 1)
        phase = self.random.uniform(0, 6, 4)
        arc = at / FINE
        wide = width * (1 + 0.14 * np.sin(arc / 41 + phase[0]) + 0.07 * np.sin(arc / 13 + phase[1]))
        if not closed:
            ends = np.minimum(arc, arc[-1] - arc) / (1.6 * width)
            wide = wide * np.clip(0.55 + 0.45 * ends, 0.55, 1)
        off = 0.9 * np.stack([np.sin(arc / 23 + phase[2]), np.cos(arc / 29 + phase[3])], 1) * FINE
        mask = np.zeros(self.alpha.shape, np.uint8)
        for place, radius in zip(way + off, wide * FINE / 2, strict=True):
            cv2.circle(mask, (round(place[0] * 16), round(place[1] * 16)), round(radius * 16), 255, -1, cv2.LINE_AA, 4)
        self._paint(mask.astype(np.float32) / 255, np.array(colour, np.float32))

    def shape(self, points: Points, colour: tuple[int, int, int], width: float = 6.0) -> None:
        """Filled and outlined."""
        self.fill(points, colour)
        self.line(points, width, closed=True)

    def picture(self) -> np.ndarray:
        """(HEIGHT, WIDTH, 4) uint8 with straight alpha."""
        flat = np.dstack([self.colours * self.alpha[..., None], self.alpha * 255])
        flat = cv2.resize(flat, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        share = np.maximum(flat[..., 3:] / 255, 1e-3)
        colours = np.where(flat[..., 3:] > 0.5, flat[..., :3] / share, 0)
        return np.rint(np.dstack([colours, flat[..., 3:]]).clip(0, 255)).astype(np.uint8)


def mirrored(points: Points) -> list[tuple[float, float]]:
    """The same on the other side of the figure's axis."""
    return [(WIDTH - x, y) for x, y in points]


def ring(x: float, y: float, rx: float, ry: float, count: int = 14) -> list[tuple[float, float]]:
    """Points on an ellipse."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles]


def draw() -> np.ndarray:
    """The drawing (820, 620, 4) uint8 RGBA."""
    paper = Paper(7)
    for flip in (list, mirrored):
        paper.shape(
            flip([(246, 540), (240, 600), (238, 690), (250, 704), (278, 704), (286, 690), (292, 600), (300, 545)]), SOCK
        )
        for y in (606, 634, 662):
            paper.line(flip([(241, y), (264, y + 4), (288, y)]), 5, WHITE)
        paper.shape(
            flip(
                [
                    (236, 684),
                    (232, 726),
                    (196, 748),
                    (184, 772),
                    (200, 786),
                    (288, 786),
                    (296, 770),
                    (288, 724),
                    (288, 684),
                    (262, 680),
                ]
            ),
            BOOT,
        )
        paper.line(flip([(190, 764), (236, 770), (294, 764)]), 4)
        paper.shape(
            flip([(264, 326), (206, 356), (140, 398), (118, 424), (142, 470), (170, 458), (236, 424), (286, 404)]), COAT
        )
        paper.shape(flip(ring(108, 458, 34, 31)), SKIN)
        paper.line(flip([(84, 452), (96, 462), (92, 474)]), 4)
        paper.line(flip([(120, 416), (142, 436), (150, 470)]), 7, DARK)
    paper.shape(
        [
            (266, 312),
            (244, 350),
            (236, 430),
            (216, 560),
            (210, 588),
            (250, 600),
            (310, 606),
            (370, 600),
            (410, 588),
            (404, 560),
            (384, 430),
            (376, 350),
            (354, 312),
            (310, 304),
        ],
        COAT,
    )
    paper.line([(222, 568), (310, 584), (398, 568)], 7, DARK)
    paper.line([(310, 320), (307, 450), (310, 600)], 4)
    for y in (372, 432, 492):
        paper.shape(ring(324, y, 9, 9, 9), WHITE, 4)
    for flip in (list, mirrored):
        paper.line(flip([(236, 486), (262, 492), (284, 484)]), 5)
        paper.shape(flip([(206, 138), (196, 66), (212, 44), (240, 66), (276, 96)]), COAT)
        paper.fill(flip([(214, 118), (212, 74), (232, 84), (250, 100)]), CHEEK)
    paper.shape(
        [
            (310, 76),
            (238, 92),
            (192, 146),
            (182, 214),
            (202, 276),
            (250, 318),
            (310, 330),
            (370, 318),
            (418, 276),
            (428, 214),
            (382, 92),
        ],
        COAT,
    )
    paper.shape(ring(310, 214, 90, 84, 16), SKIN)
    paper.fill(
        [
            (226, 186),
            (246, 146),
            (310, 128),
            (374, 146),
            (394, 186),
            (360, 166),
            (336, 186),
            (310, 164),
            (282, 188),
            (262, 168),
        ],
        INK,
    )
    for flip in (list, mirrored):
        paper.fill(flip(ring(274, 222, 9, 13, 10)), INK)
        paper.fill(flip(ring(277, 217, 3, 4, 8)), WHITE, 0)
        paper.fill(flip(ring(254, 252, 15, 10, 10)), CHEEK)
    paper.line([(304, 236), (312, 244), (306, 249)], 4)
    paper.line([(282, 264), (310, 280), (338, 264)], 5)
    return paper.picture()


def write(folder: Path) -> None:
    """``drawing.png``, ``drawing.yaml`` with its joints, and ``drawing.jpg`` to choose it by."""
    folder.mkdir(parents=True, exist_ok=True)
    rgba = draw()
    alpha = rgba[..., 3:]
    steps = np.where(alpha == 255, rgba[..., :3] // 4 * 4 + 2, rgba[..., :3])  # grain finer than the eye costs bytes
    bgra = np.dstack([steps[..., ::-1], alpha]).astype(np.uint8)
    cv2.imwrite(str(folder / "drawing.png"), bgra, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    ground = np.array([234, 241, 244])  # warm white, as the tab's own
    flat = bgra[..., :3] * (alpha / 255) + ground * (1 - alpha / 255)
    shot = cv2.resize(np.pad(flat, ((0, 0), (100, 100), (0, 0)), mode="edge"), (320, 320), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "drawing.jpg"), shot, [cv2.IMWRITE_JPEG_QUALITY, 86])
    parents = {"root": None, "hip": "root", "torso": "hip", "neck": "torso"}
    chains = (("torso", "shoulder", "elbow", "hand"), ("root", "hip", "knee", "foot"))
    for side in ("right", "left"):
        for first, *parts in chains:
            names = [first, *(f"{side}_{part}" for part in parts)]
            parents |= dict(zip(names[1:], names[:-1], strict=True))
    skeleton = [{"loc": list(JOINTS[name]), "name": name, "parent": parent} for name, parent in parents.items()]
    facts = {"height": HEIGHT, "width": WIDTH, "skeleton": skeleton}
    (folder / "drawing.yaml").write_text(yaml.safe_dump(facts), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent / "character")
