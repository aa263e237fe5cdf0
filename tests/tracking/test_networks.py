"""The networks agree with the reference implementation to a fraction of their own noise."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models.blaze.config import FACE_LANDMARK, FACE_SHORT_RANGE, IRIS_LANDMARK, POSE_DETECTION
from models.blaze.runtime import LiteSession
from models.runtime.errors import WeightsInvalid
from pipelines.tracking.regions import Region, pose_region, whole_picture

STILLS = ("face/expression_a", "face/expression_b", "face/portrait_s5", "face/portrait_s9", "body/coco_000000000785")


def percent(found: np.ndarray, wanted: np.ndarray, unit: float) -> float:
    return 100 * float(np.linalg.norm(found[:, :2] - wanted[:, :2], axis=1).mean()) / unit


@pytest.mark.media
@pytest.mark.parametrize("name", STILLS)
def test_poses_of_whole_pictures(networks, photo, reference, name):
    image, wanted = photo(f"{name}.jpg"), reference(name.split("/")[1])
    keypoints = networks.detect(image, POSE_DETECTION).keypoints[0]
    region = pose_region(keypoints[0], keypoints[1])
    found = networks.pose(image, region)
    seen = wanted["pose_world"][:, 3] > 0.5
    shoulders = float(np.linalg.norm(wanted["pose"][11, :2] - wanted["pose"][12, :2]))
    assert percent(region.to_image(found.points)[seen], wanted["pose"][seen], shoulders) < 0.1
    world = region.turn_to_image(found.world)
    assert 1000 * np.linalg.norm(world - wanted["pose_world"][:, :3], axis=1).mean() < 1
    np.testing.assert_allclose(found.visibility, wanted["pose_world"][:, 3], atol=0.02)


@pytest.mark.media
def test_masks_tell_people_from_the_ground(networks, photo):
    image = photo("body/coco_000000000785.jpg")
    mask = networks.people_mask(image)
    height, width = mask.shape
    assert mask[int(height * 0.45), int(width * 0.63)] > 0.9  # the jacket
    assert mask[int(height * 0.9), int(width * 0.1)] < 0.1  # the snow


def test_blank_pictures_hold_nobody(networks):
    for value in (0, 127, 255):
        image = np.full((240, 320, 3), value, np.uint8)
        assert len(networks.detect(image, FACE_SHORT_RANGE)) == 0
        assert networks.face(image, whole_picture(image)).presence < 0.5
        assert networks.pose(image, Region(160, 120, 200)).score < 0.5


def test_threads_share_a_session_without_mixing_answers(networks):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (200, 200, 3), dtype=np.uint8) for _ in range(6)]
    alone = [networks.face(image, whole_picture(image)).points for image in images]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda image: networks.face(image, whole_picture(image)).points, images * 4))
    for k, points in enumerate(together):
        np.testing.assert_array_equal(points, alone[k % 6])


def test_a_file_with_other_tensors_is_refused(networks, tmp_path):
    path = networks._weights.path(FACE_LANDMARK.weights)
    with pytest.raises(WeightsInvalid, match="input"):
        LiteSession(path, (64, 64), FACE_LANDMARK.outputs)
    with pytest.raises(WeightsInvalid, match="expected"):
        LiteSession(path, FACE_LANDMARK.input_shape, IRIS_LANDMARK.outputs)


def test_something_else_is_refused(tmp_path):
    path = tmp_path / "face.tflite"
    path.write_bytes(b"not a network" * 100)
    with pytest.raises(WeightsInvalid, match=r"face\.tflite"):
        LiteSession(path, FACE_LANDMARK.input_shape, FACE_LANDMARK.outputs)
