"""A pickle reader that knows a handful of data types and refuses the rest; nothing from the file is ever called.

Body-model files (FLAME, SMPL, SMPL-X) are Python-2 pickles with numpy arrays, scipy sparse matrices and chumpy
variables; some published ``.npy`` files are pickled dicts with torch tensors. Every type is read into a stand-in of
our own that only stores what it is given, so not even numpy's own rebuilding code sees unchecked state.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from typing import Any, BinaryIO

import numpy as np

from models.runtime.errors import WeightsInvalid

BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
)
_DTYPE = re.compile(r"[<>=|]?(?:[biufcSUV]\d{0,9}|\?|O8?)")


class Dtype:
    """Stand-in for ``numpy.dtype``: a plain scalar type and its byte order."""

    def __init__(self, code: Any = "", *flags: Any) -> None:
        del flags
        code = _text(code)
        if not _DTYPE.fullmatch(code):
            raise WeightsInvalid(f"array type {code[:40]!r} is not accepted")
        self.code = code
        self.order = ""

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1])
        if order not in {"<", ">", "=", "|"}:
            raise WeightsInvalid("array type with an unknown byte order")
        if len(state) > 4 and (state[3] is not None or state[4] is not None):
            raise WeightsInvalid("structured array types are not accepted")
        self.order = order

    @property
    def is_object(self) -> bool:
        return self.code.lstrip("<>=|").startswith("O")

    def numpy(self) -> np.dtype:
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(self.order) if self.order in {"<", ">"} else dtype


class Array:
    """Stand-in for ``numpy.ndarray``, filled by its state and turned into a real array at the end."""

    def __init__(self, *args: Any) -> None:
        del args
        self.shape: tuple[int, ...] = (0,)
        self.dtype = Dtype("f8")
        self.fortran = False
        self.data: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state if len(state) == 5 else (1, *state)
        if not isinstance(dtype, Dtype):
            raise WeightsInvalid("array without a type")
        self.shape, self.dtype, self.fortran, self.data = _shape(shape), dtype, bool(fortran), data

    def plain(self, depth: int) -> Any:
        if self.dtype.is_object:
            if not isinstance(self.data, list) or len(self.data) != math.prod(self.shape):
                raise WeightsInvalid("object array whose content does not fit its shape")
            items = [_plain(item, depth + 1) for item in self.data]
            return items[0] if self.shape == () else items
        return _array(self.data, self.dtype, self.shape, self.fortran)


class Record:
    """Stand-in for an instance of a known class: keeps the attributes it is given and does nothing else."""

    def __init__(self, *args: Any) -> None:
        del args
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (__dict__, slots)
            state = {**(state[0] or {}), **(state[1] or {})}
        if not isinstance(state, dict):
            raise WeightsInvalid("object with an unknown kind of state")
        self.state = {_text(name): value for name, value in state.items()}


class Chumpy(Record):
    """``chumpy.ch.Ch`` and relatives: the value lies in ``x``; a selection holds its source and indices."""

    def plain(self, depth: int) -> Any:
        if "x" in self.state:
            return np.asarray(_plain(self.state["x"], depth + 1))
        if "a" in self.state and "idxs" in self.state:
            source = np.asarray(_plain(self.state["a"], depth + 1)).ravel()
            chosen = source[np.asarray(_plain(self.state["idxs"], depth + 1)).astype(np.int64)]
            shape = self.state.get("preferred_shape")
            return chosen if shape is None else chosen.reshape(_shape(shape))
        return None


class Sparse(Record):
    """A compressed scipy matrix, as a dense array."""

    by_column = True

    def plain(self, depth: int) -> np.ndarray:
        fields = {name: _plain(value, depth + 1) for name, value in self.state.items()}
        shape = _shape(fields.get("_shape", fields.get("shape", ())))
        try:
            starts, inner, data = (np.asarray(fields[name]) for name in ("indptr", "indices", "data"))
        except KeyError as error:
            raise WeightsInvalid(f"sparse matrix without {error}") from error
        outer_size, inner_size = (shape[1], shape[0]) if self.by_column else shape
        if len(shape) != 2 or math.prod(shape) > 1 << 28 or len(starts) != outer_size + 1:
            raise WeightsInvalid("sparse matrix with an impossible shape")
        counts = np.diff(starts)
        if (counts < 0).any() or starts[0] != 0 or not starts[-1] == len(inner) == len(data):
            raise WeightsInvalid("sparse matrix whose parts do not fit together")
        if len(inner) and not (inner.min() >= 0 and inner.max() < inner_size):
            raise WeightsInvalid("sparse matrix with an index outside its shape")
        outer = np.repeat(np.arange(outer_size), counts)
        dense = np.zeros(shape, data.dtype)
        np.add.at(dense, (inner, outer) if self.by_column else (outer, inner), data)
        return dense


class SparseByRow(Sparse):
    """The row-compressed kind."""

    by_column = False


class TorchArray:
    """A torch tensor inside a plain pickle, as an array."""

    def __init__(self, storage: np.ndarray, offset: int, size: Any, stride: Any, *rest: Any) -> None:
        del rest
        shape, steps = _shape(size), _shape(stride)
        if not isinstance(storage, np.ndarray) or len(shape) != len(steps):
            raise WeightsInvalid("tensor without a storage")
        last = int(offset) + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
        if int(offset) < 0 or (math.prod(shape) and last >= len(storage)):
            raise WeightsInvalid("tensor that reaches beyond its storage")
        width = storage.itemsize
        view = np.lib.stride_tricks.as_strided(storage[int(offset) :], shape, [s * width for s in steps])
        self.value = view.copy()

    def plain(self, depth: int) -> np.ndarray:
        del depth
        return self.value


def _storage(data: Any) -> np.ndarray:
    """The flat content of a pickled torch storage, which is a small checkpoint of its own."""
    import torch

    try:
        storage = torch.load(io.BytesIO(_bytes(data)), map_location="cpu", weights_only=True)
        # The public accessors of a typed storage warn of its removal; older pickles still hold one.
        flat = torch.empty(0, dtype=storage.dtype).set_(getattr(storage, "_untyped_storage", storage))
    except (RuntimeError, AttributeError, *BROKEN) as error:
        raise WeightsInvalid(f"tensor storage cannot be read: {error}") from error
    return flat.numpy()


def _reconstruct(kind: Any, *args: Any) -> Array:
    del args
    if kind is not Array:
        raise WeightsInvalid("array of an unknown class")
    return Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, Dtype):
        raise WeightsInvalid("array without a type")
    return _array(data, dtype, _shape(shape), _text(order) == "F")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, Dtype) or dtype.is_object:
        raise WeightsInvalid("number without a type")
    return _array(data, dtype, (), False)[()]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1", "ascii", "utf-8"}:
        raise WeightsInvalid("text with an unknown encoding")
    return text.encode(encoding)


def _as_bytes(data: Any = b"", encoding: Any = "latin1") -> bytes:
    """``bytes`` and ``bytearray`` without their other meanings: a bare number would ask for that much memory."""
    return _encode(data, encoding) if isinstance(data, str) else _bytes(data)


def _new_instance(kind: Any, *args: Any) -> Record | Array:
    """Python 2's way to make an empty instance; only for the stand-ins."""
    del args
    if not (isinstance(kind, type) and issubclass(kind, (Record, Array))):
        raise WeightsInvalid("object of an unknown class")
    return kind()


class _Nothing:
    """What ``object`` itself becomes: it cannot be made to do anything."""


_KNOWN: dict[tuple[str, str], Any] = {
    ("builtins", "object"): _Nothing,
    ("builtins", "bytes"): _as_bytes,
    ("builtins", "bytearray"): _as_bytes,
    ("builtins", "complex"): complex,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("copyreg", "_reconstructor"): _new_instance,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): Dtype,
    ("numpy", "ndarray"): Array,
    ("torch._utils", "_rebuild_tensor_v2"): TorchArray,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("chumpy.ch", "Ch"): Chumpy,
    ("chumpy.reordering", "Select"): Chumpy,
    ("chumpy.reordering", "transpose"): Chumpy,
    ("chumpy.reordering", "reshape"): Chumpy,
    ("chumpy.reordering", "ravel"): Chumpy,
    ("chumpy.ch_ops", "add"): Chumpy,
    ("chumpy.ch_ops", "multiply"): Chumpy,
    ("chumpy.linalg", "dot"): Chumpy,
}
for _new, _old in (("builtins", "__builtin__"), ("copyreg", "copy_reg")):  # Python 2's names
    _KNOWN |= {(_old, name): known for (module, name), known in _KNOWN.items() if module == _new}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _KNOWN[f"{_core}.multiarray", "scalar"] = _scalar
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _from_buffer
for _name, _stand_in in (("csc", Sparse), ("csr", SparseByRow)):
    for _module in (f"scipy.sparse.{_name}", f"scipy.sparse._{_name}"):
        _KNOWN[_module, f"{_name}_matrix"] = _stand_in
        _KNOWN[_module, f"{_name}_array"] = _stand_in


class NarrowUnpickler(pickle.Unpickler):
    """Reads one pickle; any class or function that is not a known data type ends the reading."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1", errors="strict")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise WeightsInvalid(
                f"the file asks for {module}.{name}, which no model data needs; it was not run and the file is refused"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise WeightsInvalid("the file refers to objects outside itself")


def read_pickle(file: BinaryIO, name: str) -> Any:
    """The pickle at the file's position as plain Python values and arrays; ``name`` is for messages.

    Raises:
        WeightsInvalid: truncated, damaged, or with anything but known data types inside (the class is named).
    """
    try:
        return _plain(NarrowUnpickler(file).load(), 0)
    except WeightsInvalid as error:
        raise WeightsInvalid(f"{name}: {error.message}") from None
    except BROKEN as error:
        raise WeightsInvalid(f"{name} is damaged or truncated: {type(error).__name__}: {str(error)[:120]}") from error


def _plain(value: Any, depth: int) -> Any:
    if depth > 32:
        raise WeightsInvalid("values nested too deeply")
    if isinstance(value, (Array, Chumpy, Sparse, TorchArray)):
        return value.plain(depth)
    if isinstance(value, dict):
        return {_plain(k, depth + 1): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_plain(v, depth + 1) for v in value)
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, bytearray, np.ndarray, np.generic)):
        return value
    raise WeightsInvalid("the file holds a class or function as a value")


def _array(data: Any, dtype: Dtype, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    if dtype.is_object:
        raise WeightsInvalid("object array where numbers are expected")
    kind = dtype.numpy()
    raw = _bytes(data)
    if kind.itemsize == 0 or len(raw) != math.prod(shape) * kind.itemsize:
        raise WeightsInvalid("array whose content does not fit its shape")
    return np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C").copy()


def _bytes(data: Any) -> bytes:
    if isinstance(data, str):  # Python 2 wrote raw bytes as text
        return data.encode("latin1")
    if isinstance(data, (bytes, bytearray, pickle.PickleBuffer)):
        return bytes(data)
    raise WeightsInvalid("array without content")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise WeightsInvalid("a name that is not text")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > 8:
        raise WeightsInvalid("an impossible shape")
    if not all(isinstance(n, int) and 0 <= n < 1 << 40 for n in value):
        raise WeightsInvalid("an impossible shape")
    return tuple(int(n) for n in value)
