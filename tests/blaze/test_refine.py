"""Heat-map refinement of pose landmarks."""

import numpy as np
import pytest

from models.blaze.pose import refine_by_heatmap

LOW = -20.0


def heatmap(*cells: tuple[int, int, float]) -> np.ndarray:
    logits = np.full((64, 64, 1), LOW)
    for column, row, logit in cells:
        logits[row, column, 0] = logit
    return logits


def test_a_point_moves_to_the_centre_of_mass():
    refined, peaks = refine_by_heatmap(np.array([[30.4 / 64, 20.7 / 64]]), heatmap((31, 20, 5.0), (33, 20, 5.0)))
    np.testing.assert_allclose(refined * 64, [[32.0, 20.0]], atol=1e-4)
    assert peaks[0] == pytest.approx(1 / (1 + np.exp(-5.0)))


def test_a_faint_map_leaves_the_point():
    point = np.array([[30.4 / 64, 20.7 / 64]])
    refined, peaks = refine_by_heatmap(point, heatmap((31, 20, -0.1)))
    np.testing.assert_array_equal(refined, point)
    assert 0 < peaks[0] < 0.5


@pytest.mark.parametrize("column", [34, 35])
def test_the_window_reaches_four_cells(column):
    point = np.array([[30.5 / 64, 20.5 / 64]])
    refined, _ = refine_by_heatmap(point, heatmap((column, 20, 9.0)))
    assert (refined[0, 0] != point[0, 0]) == (column == 34)


def test_points_outside_the_map_stay():
    points = np.array([[-0.01, 0.5], [1.0, 0.5], [0.5, 1.7]])
    refined, peaks = refine_by_heatmap(points, np.full((64, 64, 3), 9.0))
    np.testing.assert_array_equal(refined, points)
    assert not peaks.any()


def test_windows_are_cut_at_the_border():
    refined, _ = refine_by_heatmap(np.array([[0.0, 0.999]]), heatmap((0, 63, 9.0)))
    np.testing.assert_allclose(refined * 64, [[0.0, 63.0]], atol=1e-3)
