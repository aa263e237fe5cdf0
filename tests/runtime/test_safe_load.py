"""Reading files that may be hostile, damaged or just old."""

from __future__ import annotations

import builtins
import collections
import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from models.runtime import narrow_pickle
from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import (
    convert_once,
    load_body_pickle,
    load_npz,
    load_pickled_npy,
    load_safetensors,
    load_torch,
)


class Calls:
    """Pickles into a call of ``function(*args)``."""

    def __init__(self, function, *args) -> None:
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def hostile(marker: Path) -> dict[str, object]:
    command = f"touch {marker}"
    return {
        "os.system": Calls(os.system, command),
        "popen": Calls(subprocess.Popen, ["touch", str(marker)]),
        "eval": Calls(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Calls(exec, f"open({str(marker)!r}, 'w')"),
        "getattr": Calls(getattr, "text", "upper"),
        "import": Calls(builtins.__import__, "antigravity"),
        "open": Calls(open, str(marker), "w"),
        "nested": {"v_template": np.zeros(3), "list": [1, (2, {"deep": Calls(os.system, command)})]},
        "in an object array": np.array([Calls(os.system, command), 1], dtype=object),
        "partial": Calls(__import__("functools").partial, os.system, command),
        "namespace": Calls(types.SimpleNamespace),
        "numpy file loader": Calls(np.load, str(marker)),
        "torch loader": Calls(torch.load, str(marker)),
    }


@pytest.mark.parametrize("name", sorted(hostile(Path("x"))))
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_pickles_are_refused_and_never_run(tmp_path: Path, name: str, protocol: int) -> None:
    marker = tmp_path / "pwned"
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"f": hostile(marker)[name]}, protocol))
    with pytest.raises(WeightsInvalid, match=r"model\.pkl"):
        load_body_pickle(path)
    assert not marker.exists()


def test_the_refusal_names_the_class(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"cos\nsystem\n(S'touch /nowhere'\ntR.")
    with pytest.raises(WeightsInvalid, match=r"os\.system"):
        load_body_pickle(path)


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",  # a function as the value itself
        b"\x80\x02cnumpy\nndarray\n.",  # a known class as the value itself
        b"\x80\x02P1\n.",  # a persistent reference
        b"\x80\x02\x82\x01.",  # an extension code
        b"\x80\x02]q\x00h\x00a.",  # a list that holds itself
        b"\x80\x02ccopyreg\n_reconstructor\ncbuiltins\nbytes\ncbuiltins\nobject\nN\x87R.",
        b"\x80\x02}q\x00cnumpy\ndtype\nX\x02\x00\x00\x00V8\x85Rs.",
    ],
)
def test_malformed_streams_are_refused(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(code)
    with pytest.raises(WeightsInvalid):
        load_body_pickle(path)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_never_gets_out_as_another_error(noise: bytes) -> None:
    with contextlib.suppress(WeightsInvalid):
        narrow_pickle.read_pickle(io.BytesIO(noise), "noise")


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_one_changed_byte_is_read_or_refused(place: int, value: int) -> None:
    data = bytearray(pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": "text", "c": [1, 2.5, None]}, 2))
    data[place % len(data)] = value
    with contextlib.suppress(WeightsInvalid):
        narrow_pickle.read_pickle(io.BytesIO(bytes(data)), "changed")


def array_with(shape, code: str, raw: bytes, order: str = "<") -> bytes:
    """A pickled array whose parts are chosen freely."""
    out = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    out += b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape)
    out += {1: b"\x85", 2: b"\x86", 3: b"\x87"}[len(shape)]
    name = code.encode()
    out += b"cnumpy\ndtype\nU" + bytes([len(name)]) + name + b"K\x00K\x01\x87R(K\x03U\x01" + order.encode()
    out += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(raw)) + raw + b"tb."
    return out


def test_the_hand_written_array_is_read() -> None:
    found = narrow_pickle.read_pickle(io.BytesIO(array_with((2, 2), "f4", np.arange(4, dtype="<f4").tobytes())), "x")
    assert found.tolist() == [[0, 1], [2, 3]]
    swapped = narrow_pickle.read_pickle(io.BytesIO(array_with((2,), "i2", b"\x00\x01\x00\x02", ">")), "x")
    assert swapped.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("shape", "code", "raw"),
    [
        ((3,), "f4", b"\0" * 8),
        ((1 << 39, 1 << 39), "f4", b""),
        ((-1, 2), "f4", b"\0" * 8),
        ((2,), "O8", b"\0" * 16),
        ((1,), "f4,f4", b"\0" * 8),
        ((1,), "V999999999999", b"\0" * 8),
        ((1,), "M8[s]", b"\0" * 8),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(shape, code: str, raw: bytes) -> None:
    with pytest.raises(WeightsInvalid):
        narrow_pickle.read_pickle(io.BytesIO(array_with(shape, code, raw)), "x")


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch):
    """Modules with chumpy's names, so that a file can be written as the real ones were."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering", "chumpy.evil")}
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("chumpy.evil", "Surprise")):
        cls = type(name, (), {"__module__": module})
        setattr(modules[module], name, cls)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules


def body_fields(chumpy) -> dict[str, object]:
    shapedirs = chumpy["chumpy.ch"].Ch()
    shapedirs.__dict__.update(x=np.arange(24.0).reshape(4, 3, 2), _dirty_vars=set(), _itr=None)
    select = chumpy["chumpy.reordering"].Select()
    select.__dict__.update(a=shapedirs, idxs=np.array([1, 3, 5]), preferred_shape=(3, 1))
    expression = chumpy["chumpy.ch"].Ch()
    expression.__dict__.update(_cache=None)
    return {
        "f": np.array([[0, 1, 2]], np.uint32),
        "v_template": np.arange(12.0).reshape(4, 3),
        "posedirs": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "shapedirs": shapedirs,
        "chosen": select,
        "expression": expression,
        "J_regressor": scipy.sparse.csc_matrix(np.array([[0.0, 0.5, 0.5, 0], [1, 0, 0, 2]])),
        "by_row": scipy.sparse.csr_matrix(np.array([[0.0, 3, 0], [4, 0, 5]])),
        "kintree_table": np.array([[2**32 - 1, 0], [0, 1]], np.uint32),
        "bs_style": "lbs",
        "scale": np.float64(2.5),
        "ordered": collections.OrderedDict(a=1),
    }


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_body_models_are_read_without_their_packages(tmp_path: Path, chumpy, protocol: int) -> None:
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(body_fields(chumpy), protocol))
    fields = load_body_pickle(path)
    assert fields["shapedirs"].shape == (4, 3, 2) and fields["shapedirs"][3, 2, 1] == 23
    assert fields["chosen"].tolist() == [[1], [3], [5]]
    assert "expression" not in fields
    assert fields["J_regressor"].tolist() == [[0, 0.5, 0.5, 0], [1, 0, 0, 2]]
    assert fields["by_row"].tolist() == [[0, 3, 0], [4, 0, 5]]
    assert fields["posedirs"].tolist() == np.arange(12.0).reshape(3, 4).tolist()
    assert fields["kintree_table"].dtype == np.uint32 and fields["kintree_table"][0, 0] == 2**32 - 1
    assert fields["bs_style"] == "lbs" and fields["scale"] == 2.5 and fields["ordered"] == {"a": 1}


def test_python_2_files_are_read(tmp_path: Path) -> None:
    """Protocol 2 with byte strings for array content and text, as Python 2 wrote it."""
    raw = np.array([1.5, -2.0, 255.0]).tobytes()
    array = array_with((3,), "f8", raw)[2:-1]  # without protocol mark and stop
    path = tmp_path / "old.pkl"
    path.write_bytes(b"\x80\x02}(U\x01v" + array + b"U\x08bs_styleU\x03lbsu.")
    fields = load_body_pickle(path)
    assert fields["v"].tolist() == [1.5, -2.0, 255.0] and fields["bs_style"] == "lbs"


def test_unknown_chumpy_classes_are_refused(tmp_path: Path, chumpy) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"x": chumpy["chumpy.evil"].Surprise()}))
    with pytest.raises(WeightsInvalid, match=r"chumpy\.evil\.Surprise"):
        load_body_pickle(path)


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.array([0, 9, 0, 1])},
        {"indptr": np.array([0, 1, 2, 3, 99])},
        {"indptr": np.array([0, 3, 2, 3, 4])},
        {"_shape": (1 << 20, 1 << 20)},
        {"data": np.zeros(2)},
    ],
)
def test_sparse_matrices_that_do_not_fit_are_refused(tmp_path: Path, change: dict) -> None:
    matrix = scipy.sparse.csc_matrix(np.array([[0.0, 0.5, 0.5, 0], [1, 0, 0, 2]]))
    matrix.__dict__.update(change)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"J_regressor": matrix}))
    with pytest.raises(WeightsInvalid):
        load_body_pickle(path)


def test_numbers_do_not_become_memory() -> None:
    """``bytes(2**31 - 1)`` would be two gigabytes of zeros."""
    with pytest.raises(WeightsInvalid, match="content"):
        narrow_pickle.read_pickle(io.BytesIO(b"\x80\x02cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R."), "x")
    for value in (b"ab", b"", bytearray(b"cd")):
        for protocol in range(6):
            found = narrow_pickle.read_pickle(io.BytesIO(pickle.dumps(value, protocol)), "x")
            assert bytes(found) == bytes(value)


def test_truncated_body_models_are_refused(tmp_path: Path, chumpy) -> None:
    whole = pickle.dumps(body_fields(chumpy), 2)
    path = tmp_path / "model.pkl"
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsInvalid):
            load_body_pickle(path)


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(WeightsInvalid, match="list"):
        load_body_pickle(path)


def save_npy(path: Path, value: object) -> Path:
    np.save(path, value, allow_pickle=True)
    return path


def test_pickled_npy_with_tensors(tmp_path: Path) -> None:
    tensor = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    content = {"faces": np.arange(3), "bary": tensor, "part": tensor[1:, ::2], "ids": torch.tensor([5, 6])}
    found = load_pickled_npy(save_npy(tmp_path / "embedding.npy", content))
    assert found["faces"].tolist() == [0, 1, 2]
    assert found["bary"].dtype == np.float32 and found["bary"].tolist() == tensor.tolist()
    assert found["part"].tolist() == tensor[1:, ::2].tolist()
    assert found["ids"].tolist() == [5, 6]


def test_plain_npy_needs_no_unpickling(tmp_path: Path) -> None:
    found = load_pickled_npy(save_npy(tmp_path / "displacement.npy", np.eye(3)))
    assert found.tolist() == np.eye(3).tolist()


def test_hostile_npy_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "pwned"
    path = save_npy(tmp_path / "x.npy", {"a": Calls(os.system, f"touch {marker}")})
    with pytest.raises(WeightsInvalid, match="system"):
        load_pickled_npy(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"not an array at all", b"\x93NUMPY\x01\x00\x10\x00{'descr': 1/0}   "]
)
def test_damaged_npy_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(WeightsInvalid):
        load_pickled_npy(path)


def test_truncated_npy_is_refused(tmp_path: Path) -> None:
    for value in (np.eye(50), {"a": np.eye(50)}):
        path = save_npy(tmp_path / "x.npy", value)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(WeightsInvalid):
            load_pickled_npy(path)


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(3), b=np.eye(2))
    assert load_npz(path)["a"].tolist() == [0, 1, 2]
    assert list(load_npz(path, only=("b", "absent"))) == ["b"]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(WeightsInvalid):
        load_npz(path)
    path.write_bytes(b"<html>")
    with pytest.raises(WeightsInvalid):
        load_npz(path)


def test_npz_with_objects_is_refused_unless_they_are_left_aside(tmp_path: Path) -> None:
    marker = tmp_path / "pwned"
    path = tmp_path / "x.npz"
    np.savez(path, v=np.eye(2), joint2num=np.array({"a": Calls(os.system, f"touch {marker}")}, dtype=object))
    with pytest.raises(WeightsInvalid):
        load_npz(path)
    assert load_npz(path, only=("v",))["v"].shape == (2, 2)
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_checkpoints(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.pth"
    state = {"network": {"w": torch.eye(3)}, "epoch": 3, "loss": np.float64(0.5), "best": np.int64(7)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    found = load_torch(path)
    assert torch.equal(found["network"]["w"], torch.eye(3)) and found["loss"] == 0.5 and found["best"] == 7
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WeightsInvalid, match="not a readable checkpoint"):
        load_torch(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_torch_checkpoints_are_refused(tmp_path: Path, zipped: bool) -> None:
    marker, path = tmp_path / "pwned", tmp_path / "x.pth"
    torch.save({"a": Calls(os.system, f"touch {marker}")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsInvalid, match=r"asks for posix\.system|asks for nt\.system"):
        load_torch(path)
    assert not marker.exists()


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.eye(3)}, path)
    assert torch.equal(load_safetensors(path)["w"], torch.eye(3))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsInvalid):
        load_safetensors(path)


def test_conversion_happens_once(tmp_path: Path) -> None:
    source, reads = tmp_path / "model.pkl", []
    source.write_bytes(pickle.dumps({"v": np.eye(2), "name": "lbs"}))

    def read(path: Path) -> dict:
        reads.append(path)
        return load_body_pickle(path)

    assert convert_once(source, read)["v"].tolist() == np.eye(2).tolist()
    assert convert_once(source, read)["v"].tolist() == np.eye(2).tolist()
    assert len(reads) == 1 and sorted(p.name for p in tmp_path.iterdir()) == ["model.pkl", "model.pkl.npz"]
    newer = (tmp_path / "model.pkl.npz").stat().st_mtime + 10
    os.utime(source, (newer, newer))
    convert_once(source, read)
    assert len(reads) == 2
    (tmp_path / "model.pkl.npz").write_bytes(b"PK damaged")
    os.utime(tmp_path / "model.pkl.npz", (newer + 10, newer + 10))
    assert "v" in convert_once(source, read) and len(reads) == 3


def test_conversion_without_a_writable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def refuse(**options: object) -> None:
        raise PermissionError("read-only")

    source = tmp_path / "model.pkl"
    source.write_bytes(pickle.dumps({"v": np.eye(2)}))
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert convert_once(source, load_body_pickle)["v"].shape == (2, 2)


def test_a_full_size_joint_regressor_is_read(parity_dir: Path, tmp_path: Path) -> None:
    """That of the made-up FLAME of the parity set, as the sparse matrix the released file holds."""
    fields = load_npz(parity_dir / "deca" / "data" / "flame_synth.npz")
    shape = (5, len(fields["weights"]))
    fields["J_regressor"] = scipy.sparse.csc_matrix(
        (fields.pop("J_val"), (fields.pop("J_row"), fields.pop("J_col"))), shape=shape
    )
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(fields, 2))
    found = load_body_pickle(path)
    assert found["J_regressor"].shape == shape
    np.testing.assert_array_equal(found["J_regressor"], fields["J_regressor"].toarray())
