"""The SMPL-X skeleton: names, parents, and the joint sets read off the posed body."""

from __future__ import annotations

BODY = [
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
]
FACE = ["jaw", "left_eye", "right_eye"]
FINGERS = ("index", "middle", "pinky", "ring", "thumb")
HANDS = [f"{side}_{finger}{part}" for side in ("left", "right") for finger in FINGERS for part in (1, 2, 3)]
NAMES: tuple[str, ...] = (*BODY, *FACE, *HANDS)
INDEX = {name: index for index, name in enumerate(NAMES)}
PARENTS: tuple[int, ...] = (
    *(-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15),
    *(20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38),
    *(21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53),
)
JOINTS = len(NAMES)  # 55
BODY_JOINTS = 21  # without the pelvis
HAND_JOINTS = 15

# Vertices of the SMPL-X mesh that stand for face points, feet and finger tips (thumb, index, middle, ring, pinky).
PICKED_VERTICES: tuple[int, ...] = (
    *(9120, 9929, 9448, 616, 6),  # nose, right eye, left eye, right ear, left ear
    *(5770, 5780, 8846, 8463, 8474, 8635),  # left big toe, small toe, heel, then right
    *(5361, 4933, 5058, 5169, 5286),  # left finger tips
    *(8079, 7669, 7794, 7905, 8022),  # right finger tips
)
CONTOUR_CHAIN = (12, 9, 6, 3, 0)  # neck to pelvis: the rotations that turn the head's contour

# The 137 joints SMPLer-X supervises, as indices into skeleton + picked vertices + face landmarks (144).
_BODY_25 = (0, 1, 2, 4, 5, 7, 8, 12, 16, 17, 18, 19, 20, 21, 60, 61, 62, 63, 64, 65, 59, 58, 57, 56, 55)
_LEFT_20 = (37, 38, 39, 66, 25, 26, 27, 67, 28, 29, 30, 68, 34, 35, 36, 69, 31, 32, 33, 70)
_RIGHT_20 = (52, 53, 54, 71, 40, 41, 42, 72, 43, 44, 45, 73, 49, 50, 51, 74, 46, 47, 48, 75)
_FACE_72 = (22, 15, 57, 56, *range(76, 144))
JOINTS_137: tuple[int, ...] = (*_BODY_25, *_LEFT_20, *_RIGHT_20, *_FACE_72)
PELVIS_137, NECK_137, LEFT_WRIST_137, RIGHT_WRIST_137 = 0, 7, 12, 13
PARTS_137 = {
    "body": slice(0, 25),
    "left_hand": slice(25, 45),
    "right_hand": slice(45, 65),
    "face": slice(65, 137),
}
