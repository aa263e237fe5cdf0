"""The measurement cache: found again, bound to runs, limited, unharmed by damage."""

import os
import time

import numpy as np
import pytest

from models.runtime.errors import InputError
from models.runtime.settings import Settings
from pipelines.tracking.measurements import MeasurementCache, MeasurementKey, hash_file

ARRAYS = {"landmarks": np.arange(12, dtype=np.float32).reshape(2, 2, 3), "index": np.array([0, 4])}


@pytest.fixture
def cache(tmp_path) -> MeasurementCache:
    return MeasurementCache(tmp_path / "measurements", max_age_days=7, max_bytes=1 << 20)


def key(name: str = "a") -> MeasurementKey:
    return MeasurementKey.of(name, ("face", "iris"), {"iris": True})


def test_keys_depend_on_everything_but_the_order():
    base = MeasurementKey.of("a", ("x", "y"), {"p": 1, "q": [2]})
    assert base == MeasurementKey.of("a", ("y", "x"), {"q": [2], "p": 1})
    others = [("b", ("x", "y"), {"p": 1, "q": [2]}), ("a", ("x",), {"p": 1, "q": [2]}), ("a", ("x", "y"), {"p": 2})]
    assert all(base != MeasurementKey.of(*other) for other in others)


def test_files_are_hashed_by_content(tmp_path):
    (tmp_path / "one").write_bytes(b"same")
    (tmp_path / "two").write_bytes(b"same")
    (tmp_path / "three").write_bytes(b"other")
    assert hash_file(tmp_path / "one") == hash_file(tmp_path / "two") != hash_file(tmp_path / "three")


def test_what_is_put_is_got(cache):
    assert cache.get(key()) is None
    cache.put(key(), ARRAYS, "run1")
    found = cache.get(key())
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)


def test_measuring_happens_once(cache):
    calls = []

    def measure():
        calls.append(1)
        return ARRAYS

    for run in ("run1", "run2"):
        np.testing.assert_array_equal(cache.remember(key(), measure, run)["index"], ARRAYS["index"])
    assert len(calls) == 1


def test_forgetting_any_run_that_used_an_entry_deletes_it(cache):
    cache.put(key("a"), ARRAYS, "run1")
    cache.put(key("b"), ARRAYS, "run1")
    cache.put(key("c"), ARRAYS, "run3")
    assert cache.get(key("a"), "run2") is not None
    assert cache.forget_run("run2") == 1
    assert cache.get(key("a")) is None and cache.get(key("b")) is not None
    assert cache.forget_run("run1") == 1
    assert cache.forget_run("run1") == 0
    assert cache.get(key("c")) is not None
    cache.forget_run("run3")
    assert not any(p.is_file() for p in cache.folder.rglob("*"))


@pytest.mark.parametrize("run", ["../evil", "a/b", "a\\b", "..", "x" * 200])
def test_run_names_cannot_leave_the_folder(cache, run):
    with pytest.raises(InputError):
        cache.put(key(), ARRAYS, run)


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


def test_the_old_is_swept_with_its_markers(cache):
    cache.put(key(), ARRAYS, "run1")
    os.utime(cache._path(key()), (time.time() - 8 * 86400,) * 2)
    cache.sweep()
    assert not any(p.is_file() for p in cache.folder.rglob("*"))


def test_settings_give_the_limits(tmp_path):
    cache = MeasurementCache.from_settings(Settings(workspace_dir=tmp_path))
    assert cache.folder == tmp_path / "measurements"
