"""How faces, people and hands are searched and followed."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.tracking.smoothing import SmoothingConfig

SMOOTHING = SmoothingConfig()


@dataclass(frozen=True)
class SearchOptions:
    """How thoroughly a picture is searched.

    ``tiled`` also looks through overlapping tiles for subjects that are small in the picture; ``scales`` are the tiles'
    sides as fractions of the picture's short side, falling; ``smallest_tile`` in pixels; ``overlap`` of a tile's side.
    """

    tiled: bool = True
    scales: tuple[float, ...] = (1.0, 0.5, 0.25)
    smallest_tile: float = 160.0
    overlap: float = 0.4


@dataclass(frozen=True)
class FollowOptions:
    """When a video is searched again; times in seconds.

    The first frame is searched thoroughly. While everybody known is in sight the whole picture is searched every
    ``quick_interval`` and, where the search is tiled, its tiles every ``sweep_interval``. While nobody is there, or
    somebody was lost not longer than ``retry_seconds`` ago, that is every frame and every ``retry_interval``.
    For ``recall_seconds`` somebody lost is looked for in every frame where their way should have led them.
    ``memory`` is how long somebody unseen keeps their number. At ``limit`` subjects no more are searched for.
    Newcomers are reported once they were seen in ``confirm`` frames; those who come first, at once.
    """

    limit: int = 16
    confirm: int = 3
    quick_interval: float = 0.5
    sweep_interval: float = 2.0
    retry_interval: float = 0.5
    retry_seconds: float = 1.0
    recall_seconds: float = 1.0
    memory: float = 3.0


@dataclass(frozen=True)
class FaceOptions:
    """Faces.

    ``sweep`` is the cheaper search for newcomers while a video runs. ``iris`` adds ten iris landmarks.
    ``min_presence`` is the landmark network's own confidence 0..1; ``min_size`` the smallest face box in pixels.
    ``smoothing`` None leaves the landmarks of videos as measured.
    """

    search: SearchOptions = SearchOptions(scales=(0.6, 0.3, 0.15, 0.08, 0.04), smallest_tile=256.0)
    sweep: SearchOptions = SearchOptions(scales=(0.6, 0.3), smallest_tile=256.0)
    follow: FollowOptions = FollowOptions()
    iris: bool = False
    min_presence: float = 0.5
    min_size: float = 16.0
    smoothing: SmoothingConfig | None = SMOOTHING


@dataclass(frozen=True)
class PoseOptions:
    """People; fields as for faces. ``min_size`` is the side of the region the landmark network looks at, in pixels.

    ``frugal`` leaves a video's first thorough search at a sweep where the picture as a whole shows somebody and the
    sweep gives no hint of anybody else.
    """

    search: SearchOptions = SearchOptions(scales=(1.0, 0.85, 0.7, 0.6, 0.5), overlap=0.65)
    sweep: SearchOptions = SearchOptions(scales=(1.0, 0.7, 0.5), overlap=0.5)
    follow: FollowOptions = FollowOptions()
    min_presence: float = 0.5
    min_size: float = 40.0
    smoothing: SmoothingConfig | None = SMOOTHING
    frugal: bool = False


@dataclass(frozen=True)
class HandOptions:
    """Hands; fields as for faces. ``min_size`` is a palm's long side in pixels."""

    search: SearchOptions = SearchOptions(scales=(0.6, 0.35), smallest_tile=192.0)
    follow: FollowOptions = FollowOptions()
    min_presence: float = 0.5
    min_size: float = 12.0
    smoothing: SmoothingConfig | None = SMOOTHING
