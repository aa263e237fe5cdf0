"""The UDP maker, the studio's own character, and the engine that draws by lookup."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from models.runtime.errors import InputError
from models.runtime.settings import Limits, Settings
from pipelines.base import RunContext
from pipelines.character.bodies import PIP, pip
from pipelines.character.crop import crop_window, paste_straight
from pipelines.character.engine_udp import UdpEngine
from pipelines.character.inputs import CharacterSheet
from pipelines.character.lookup import SurfaceLookup
from pipelines.character.made_sheet import made_sheet
from pipelines.character.moving import MOVES, resampled
from pipelines.character.options import CharacterOptions, ViewOptions
from pipelines.character.stage import Stage
from pipelines.character.work import CharacterWork
from pipelines.export.glb_read import read_character
from pipelines.export.motion import read_motion
from pipelines.render.skinned import averaged, picture, seen
from pipelines.render.udp import UdpConvention, sample_udp, udp_frame

SHEET = (0.0, 180.0, 90.0, -90.0)
TRIED = ((10, 20.0), (85, -50.0))  # frames of the dance and yaws, none of them on the sheet


@cache
def stage(yaw: float, side: int) -> Stage:
    return Stage(pip(), read_motion(MOVES / "dance.npz"), ViewOptions(yaw=yaw), (side, side))


def white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))


def test_values_follow_the_convention() -> None:
    rest = np.array([[-1.0, 0, -0.5], [1, 2, 0.5], [0, 1, 0]], np.float32)
    values, lengths = UdpConvention().values(rest)
    np.testing.assert_allclose(values, [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(lengths, [2, 1, 2])  # across, depth, height
    flipped, _ = UdpConvention(axes=("-x", "-z", "+y")).values(rest)
    np.testing.assert_allclose(flipped[0], [1, 1, 0])
    boxed, _ = UdpConvention(low=(-2, 0, -1), size=(4, 4, 2)).values(rest)
    np.testing.assert_allclose(boxed[1], [0.75, 0.75, 0.5])


def test_a_udp_shows_places_and_never_blends_them() -> None:
    made = stage(0.0, 160)
    values, _ = UdpConvention().values(pip().rest)
    udp = udp_frame(pip(), made.vertices(0), made.camera(0), values)
    assert udp.dtype == np.float32 and udp.min() >= 0 and udp.max() <= 1
    inside = udp[..., 3] > 0
    assert (udp[~inside] == 0).all()
    assert ((udp[..., 3] > 0) & (udp[..., 3] < 1)).any()  # soft at the rim
    rows, columns = np.nonzero(inside)
    height = np.corrcoef(rows, udp[..., 2][inside])[0, 1]
    across = np.corrcoef(columns, udp[..., 0][inside])[0, 1]
    assert height < -0.95 and across > 0.9  # Z upwards, X to the right of a front view
    assert udp[..., 1][inside].mean() > 0.5  # the front shows the front
    # Rim pixels hold true surface points: nearer to the surface than any blend with the background would be.
    from scipy.spatial import cKDTree

    rim = inside & (udp[..., 3] < 0.6)
    gap, _ = cKDTree(values).query(udp[rim][:, :3])
    assert np.percentile(gap, 99) < 0.03


def test_lookup_draws_poses_and_turns_that_no_drawing_shows() -> None:
    body = pip()
    values, lengths = UdpConvention().values(body.rest)
    lookup = SurfaceLookup(made_sheet(body, values, SHEET, 512), lengths)
    for frame, yaw in TRIED:
        made = stage(yaw, 512)
        vertices, camera = made.vertices(frame), made.camera(frame)
        truth = picture(body, vertices, camera, 4)
        fragments = seen(body, vertices, camera, 2)
        rgb = lookup.paint(sample_udp(body, fragments, values), fragments.covered)
        mine = white(averaged(rgb, fragments.covered, 2))
        wanted = white(truth)
        rows, columns = np.nonzero(truth[..., 3])
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert psnr(mine, wanted) >= 33
        assert structural_similarity(mine, wanted, channel_axis=2, data_range=255) >= 0.98
        assert psnr(mine[box], wanted[box]) >= 29


def context(tmp_path: Path) -> RunContext:
    return RunContext(tmp_path, Settings(), None, None)


def test_the_engine_gives_every_frame_with_a_clear_background(tmp_path: Path) -> None:
    motion = resampled(read_motion(MOVES / "wave.npz"), 2.0)
    work = CharacterWork(CharacterSheet(), motion, (), (), 2.0, (192, 256))
    frames = np.concatenate(list(UdpEngine(work, CharacterOptions(size=256), context(tmp_path)).frames()))
    assert frames.shape == (len(motion), 256, 192, 4) and frames.dtype == np.uint8
    assert (frames[:, 0, 0, 3] == 0).all() and (frames[..., 3].reshape(len(frames), -1) > 0).mean(axis=1).min() > 0.05
    skin = frames[..., 3] == 255
    rim = (frames[..., 3] > 0) & ~skin
    assert frames[rim][:, :3].mean() > 0.6 * frames[skin][:, :3].mean()  # no dark rims


def test_drawings_with_udps_are_moved_by_udp_frames(tmp_path: Path) -> None:
    body = pip()
    values, _ = UdpConvention().values(body.rest)
    made = stage(30.0, 192)
    path = tmp_path / "pose.npz"
    np.savez(path, i=udp_frame(body, made.vertices(20), made.camera(20), values).astype(np.float16))
    folder = Path(__file__).resolve().parents[2] / "examples" / "character" / "pip"
    names = ("front", "back", "left", "right")
    sheet = CharacterSheet(tuple(folder / f"{n}.png" for n in names), tuple(folder / f"{n}_udp.npz" for n in names))
    work = CharacterWork(sheet, None, (path,), (), 30.0, (512, 512))
    frame = next(UdpEngine(work, CharacterOptions(), context(tmp_path)).frames())[0]
    truth = picture(body, made.vertices(20), made.camera(20))
    both = (frame[..., 3] == 255) & (truth[..., 3] == 255)
    assert np.abs(frame[both][:, :3].astype(int) - truth[both][:, :3]).mean() < 12


def test_feet_stay_on_the_floor() -> None:
    made = stage(0.0, 512)
    lowest = np.array([made.vertices(frame)[:, 1].min() for frame in range(0, len(made), 6)])
    assert np.ptp(lowest) < 0.06 * np.ptp(pip().rest[:, 1])


def test_a_model_without_a_skeleton_or_cut_short_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "cut.glb"
    cut.write_bytes(PIP.read_bytes()[:200_000])
    with pytest.raises(InputError):
        read_character(cut, Limits())
    other = tmp_path / "renamed.glb"
    other.write_bytes(PIP.read_bytes().replace(b"left_elbow", b"left_thing"))
    with pytest.raises(InputError, match="left elbow"):
        read_character(other, Limits())


def test_soft_rims_keep_their_colour() -> None:
    alpha = np.zeros((32, 32), np.uint8)
    alpha[4:28, 4:28] = 255
    record = crop_window(alpha, (16, 16))
    rgba = np.zeros((16, 16, 4), np.float32)
    rgba[..., 3] = 0.25
    rgba[..., 0] = 0.25 * 0.8
    frame = paste_straight(rgba, record)
    assert frame.shape == (32, 32, 4)
    np.testing.assert_allclose(frame[10, 10], [204, 0, 0, 64], atol=1)
