"""Places seen again in a long scene: found by likeness of what the network's backbone sees, proven by point matches.

Every frame is described by how its backbone tokens differ from a small vocabulary that is learned from the scene
itself (Jegou 2010 for the aggregation; Keetha 2023, arXiv 2308.00688, for tokens of a vision transformer). No further
checkpoint is needed; where SALAD's is installed, its descriptions take their place (``place_network``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pipelines.scene.matches import consistent, features, matched

GRID = 8  # tokens kept of a frame, per side
WORDS = 16
SAMPLES = 20_000  # tokens from which the vocabulary is learned
AXES = 256  # length of a description
NEAREST = 5  # most similar frames looked at per frame
ALIKE = 0.25  # cosine of descriptions from which two frames may show one place
FEATURES, SIDE, PROOF = 1200, 640, 30  # features per frame, size at which they are sought, matches that prove a place
TRIES = 60  # pairs proven at most

Array = NDArray[np.float32]


def small_tokens(tokens: NDArray[np.floating]) -> NDArray[np.float16]:
    """Tokens (N, ph, pw, C) of frames averaged onto a grid of at most ``GRID`` per side: (N, T, C), of unit length."""
    x = torch.from_numpy(np.asarray(tokens, np.float32)).permute(0, 3, 1, 2)
    x = F.adaptive_avg_pool2d(x, tuple(min(GRID, n) for n in x.shape[-2:])).flatten(2).transpose(1, 2)
    return F.normalize(x, dim=-1).half().numpy()


def vocabulary(tokens: Iterable[NDArray[np.floating]], frames: int) -> Array:
    """``WORDS`` centres (K, C) of the tokens (n, T, C) of all parts, ``frames`` in total."""
    random = np.random.default_rng(0)
    drawn = []
    for part in tokens:
        flat = part.reshape(-1, part.shape[-1])
        share = max(1, round(SAMPLES * len(part) / max(frames, 1)))
        drawn.append(flat[random.permutation(len(flat))[:share]].astype(np.float32))
    sample = np.concatenate(drawn)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    cv2.setRNGSeed(0)
    return cv2.kmeans(sample, min(WORDS, len(sample)), None, stop, 1, cv2.KMEANS_PP_CENTERS)[2]


def differences(tokens: NDArray[np.floating], words: Array) -> Array:
    """Frames' tokens (n, T, C) as sums of what separates them from their nearest word: (n, K * C) of unit length."""
    x = tokens.astype(np.float32)
    distance = (words**2).sum(-1) - 2 * x @ words.T  # (n, T, K) up to what all words share
    nearest = distance.argmin(-1)[..., None] == np.arange(len(words))
    sums = np.einsum("ntk,ntc->nkc", nearest.astype(np.float32), x) - nearest.sum(1)[..., None] * words
    sums /= np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-6)
    flat = sums.reshape(len(x), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-6)


def describe_frames(parts: Callable[[], Iterator[NDArray[np.floating]]], frames: int) -> Array:
    """Unit vectors (N, D) that are alike for frames of one place and at right angles for others.

    Args:
        parts: gives the tokens (n, T, C) of all frames in order, some frames at a time; called three times.
        frames: N.
    """
    words = vocabulary(parts(), frames)
    step = max(1, frames // (2 * AXES))
    sample, at = [], 0
    for tokens in parts():
        sample.append(differences(tokens[(-at) % step :: step], words))
        at += len(tokens)
    chosen = np.concatenate(sample)
    mean = chosen.mean(0)
    axes = np.linalg.svd(chosen - mean, full_matrices=False)[2][:AXES]
    rows = np.concatenate([(differences(tokens, words) - mean) @ axes.T for tokens in parts()])
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def candidates(descriptions: Array, gap: int, alike: float = ALIKE) -> list[tuple[int, int]]:
    """Frames at least ``gap`` apart that may show one place: (later, earlier), the most alike first."""
    n = len(descriptions)
    pairs: dict[tuple[int, int], float] = {}
    for i in range(gap, n):
        likeness = descriptions[: i - gap + 1] @ descriptions[i]
        for j in np.argsort(-likeness)[:NEAREST]:
            if likeness[j] > alike:
                pairs[i, int(j)] = float(likeness[j])
    return sorted(pairs, key=lambda pair: -pairs[pair])


def proven(
    pairs: Iterable[tuple[int, int]], picture: Callable[[int], NDArray[np.uint8]], most: int, apart: int
) -> Iterator[tuple[int, int]]:
    """The pairs whose frames match point by point, at most ``most``.

    Args:
        picture: a frame (H, W, 3) by number.
        apart: frames by which accepted pairs differ at both ends; pairs much like a refused one are not tried again.
    """
    accepted: list[tuple[int, int]] = []
    refused: list[tuple[int, int]] = []

    def near(pair: tuple[int, int], others: list[tuple[int, int]], reach: int) -> bool:
        return any(abs(pair[0] - a) < reach and abs(pair[1] - b) < reach for a, b in others)

    for pair in pairs:
        if len(accepted) >= most or len(accepted) + len(refused) >= TRIES:
            return
        if near(pair, accepted, apart) or near(pair, refused, max(2, apart // 4)):
            continue
        if same_place(*(picture(i) for i in pair)):
            accepted.append(pair)
            yield pair
        else:
            refused.append(pair)


def same_place(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Whether enough points of two photos (H, W, 3) fit one pair of cameras."""
    found = []
    for rgb in (a, b):
        scale = SIDE / max(rgb.shape[:2])
        small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
        found.append(features(small, FEATURES))
    return consistent(*matched(*found)) >= PROOF
