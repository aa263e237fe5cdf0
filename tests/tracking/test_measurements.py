"""The measurement cache: found again, named by the media it was made from, limited, unharmed by damage."""

import os
import time

import numpy as np
import pytest

from models.runtime.settings import Settings
from pipelines.tracking.measurements import MeasurementCache, MeasurementKey, hash_file
from studio.traces import forget_measurements

ARRAYS = {"landmarks": np.arange(12, dtype=np.float32).reshape(2, 2, 3), "index": np.array([0, 4])}


@pytest.fixture
def cache(tmp_path) -> MeasurementCache:
    return MeasurementCache(tmp_path / "measurements", max_age_days=7, max_bytes=1 << 20)


def key(name: str = "a") -> MeasurementKey:
    return MeasurementKey(f"{name}.faces")


def test_keys_begin_with_the_hash_of_the_content(tmp_path):
    (tmp_path / "clip").write_bytes(b"one")
    first = MeasurementKey.of(tmp_path / "clip", "faces-1")
    assert first.name.startswith(hash_file(tmp_path / "clip"))
    assert first == MeasurementKey.of(tmp_path / "clip", "faces-1") != MeasurementKey.of(tmp_path / "clip", "faces-2")


def test_deleting_what_was_measured_on_a_file_finds_it(cache, tmp_path):
    (tmp_path / "clip").write_bytes(b"one")
    made = MeasurementKey.of(tmp_path / "clip", "faces-1")
    cache.put(made, ARRAYS)
    cache.put(key(), ARRAYS)
    assert forget_measurements(cache.folder, [hash_file(tmp_path / "clip")]) == 1
    assert cache.get(made) is None and cache.get(key()) is not None


def test_files_are_hashed_by_content(tmp_path):
    (tmp_path / "one").write_bytes(b"same")
    (tmp_path / "two").write_bytes(b"same")
    (tmp_path / "three").write_bytes(b"other")
    assert hash_file(tmp_path / "one") == hash_file(tmp_path / "two") != hash_file(tmp_path / "three")


def test_what_is_put_is_got(cache):
    assert cache.get(key()) is None
    cache.put(key(), ARRAYS)
    found = cache.get(key())
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)


def test_damage_reads_as_absent(cache):
    cache.put(key(), ARRAYS)
    path = next(cache.folder.glob("*.npz"))
    path.write_bytes(path.read_bytes()[:50])
    assert cache.get(key()) is None
    assert not path.exists()


def test_objects_are_refused(cache):
    with pytest.raises(ValueError, match="plain arrays"):
        cache.put(key(), {"bad": np.array([{}], dtype=object)})


def test_the_longest_unused_goes_first(tmp_path):
    cache = MeasurementCache(tmp_path, max_age_days=7, max_bytes=25_000)
    noise = np.random.default_rng(0).integers(0, 256, 10_000, dtype=np.uint8)
    for age, name in ((300, "a"), (200, "b")):
        cache.put(key(name), {"x": noise})
        os.utime(cache._path(key(name)), (time.time() - age,) * 2)
    assert cache.get(key("a")) is not None
    cache.put(key("c"), {"x": noise})
    assert [cache.get(key(n)) is not None for n in "abc"] == [True, False, True]


def test_the_old_is_swept(cache):
    cache.put(key(), ARRAYS)
    os.utime(cache._path(key()), (time.time() - 8 * 86400,) * 2)
    cache.sweep()
    assert not any(p.is_file() for p in cache.folder.rglob("*"))


def test_settings_give_the_limits(tmp_path):
    cache = MeasurementCache.from_settings(Settings(workspace_dir=tmp_path))
    assert cache.folder == tmp_path / "measurements"
