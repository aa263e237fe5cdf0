"""What each LiteRT file takes and gives: sizes, value ranges, anchor layout and the names and shapes of its outputs.

Sources: the MediaPipe model cards (BlazeFace, FaceMesh, BlazePose, Hands, Iris, Selfie Segmentation) and the tensors of
the files themselves. A file with other tensors is refused when it is opened.
"""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorSpec:
    """Name and shape of one output tensor, batch axis included."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class DetectorConfig:
    """A single-shot detector over a square picture.

    ``strides`` lists one entry per anchor layer; entries of equal stride share a grid and each adds
    ``anchors_per_entry`` anchors to every cell. ``value_range`` is what black and white become.
    """

    weights: str
    input_size: int
    strides: tuple[int, ...]
    anchors_per_entry: int
    keypoints: int
    value_range: tuple[float, float]
    boxes: str
    scores: str
    min_score: float = 0.5
    max_iou: float = 0.3

    @property
    def anchors(self) -> int:
        return sum((self.input_size // s) ** 2 * self.anchors_per_entry for s in self.strides)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec(self.boxes, (1, self.anchors, 4 + 2 * self.keypoints)),
            TensorSpec(self.scores, (1, self.anchors, 1)),
        )


@dataclass(frozen=True)
class NetworkConfig:
    """A network over one crop: registry id, input height and width, outputs by name.

    ``unused`` are further outputs of the file that are not computed.
    """

    weights: str
    input_shape: tuple[int, int]
    outputs: tuple[TensorSpec, ...]
    unused: tuple[str, ...] = ()


FACE_SHORT_RANGE = DetectorConfig(
    weights="mediapipe-face-detection-short-range",
    input_size=128,
    strides=(8, 16, 16, 16),
    anchors_per_entry=2,
    keypoints=6,
    value_range=(-1.0, 1.0),
    boxes="regressors",
    scores="classificators",
)
FACE_FULL_RANGE = DetectorConfig(
    weights="mediapipe-face-detection-full-range-sparse",
    input_size=192,
    strides=(4,),
    anchors_per_entry=1,
    keypoints=6,
    value_range=(-1.0, 1.0),
    boxes="Identity",
    scores="Identity_1",
    min_score=0.6,
)
POSE_DETECTION = DetectorConfig(
    weights="mediapipe-pose-detection",
    input_size=224,
    strides=(8, 16, 32, 32, 32),
    anchors_per_entry=2,
    keypoints=4,
    value_range=(-1.0, 1.0),
    boxes="Identity",
    scores="Identity_1",
)
PALM_DETECTION = DetectorConfig(
    weights="mediapipe-palm-detection-full",
    input_size=192,
    strides=(8, 16, 16, 16),
    anchors_per_entry=2,
    keypoints=7,
    value_range=(0.0, 1.0),
    boxes="Identity",
    scores="Identity_1",
)

FACE_LANDMARK = NetworkConfig(
    weights="mediapipe-face-landmark",
    input_shape=(192, 192),
    outputs=(TensorSpec("conv2d_21", (1, 1, 1, 468 * 3)), TensorSpec("conv2d_31", (1, 1, 1, 1))),
)
IRIS_LANDMARK = NetworkConfig(
    weights="mediapipe-iris-landmark",
    input_shape=(64, 64),
    outputs=(TensorSpec("output_eyes_contours_and_brows", (1, 71 * 3)), TensorSpec("output_iris", (1, 5 * 3))),
)
POSE_LANDMARK = NetworkConfig(
    weights="mediapipe-pose-landmark-full",
    input_shape=(256, 256),
    outputs=(
        TensorSpec("Identity", (1, 39 * 5)),
        TensorSpec("Identity_1", (1, 1)),
        TensorSpec("Identity_3", (1, 64, 64, 39)),
        TensorSpec("Identity_4", (1, 39 * 3)),
    ),
    unused=("Identity_2",),  # the person's mask, which takes two fifths of the time
)
HAND_LANDMARK = NetworkConfig(
    weights="mediapipe-hand-landmark-full",
    input_shape=(224, 224),
    outputs=(
        TensorSpec("Identity", (1, 21 * 3)),
        TensorSpec("Identity_1", (1, 1)),
        TensorSpec("Identity_2", (1, 1)),
        TensorSpec("Identity_3", (1, 21 * 3)),
    ),
)
SELFIE = NetworkConfig(
    weights="mediapipe-selfie-segmentation",
    input_shape=(256, 256),
    outputs=(TensorSpec("activation_10", (1, 256, 256, 1)),),
)
SELFIE_LANDSCAPE = NetworkConfig(
    weights="mediapipe-selfie-segmentation-landscape",
    input_shape=(144, 256),
    outputs=(TensorSpec("segment_back", (1, 144, 256, 1)),),
)
