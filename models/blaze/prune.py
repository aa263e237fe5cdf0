"""Leaves out what nobody asks for: outputs of a LiteRT file and the operators that serve nothing else."""

from __future__ import annotations

from collections.abc import Collection

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"


def without_outputs(content: bytes, names: Collection[str]) -> bytes:
    """The file's content without the outputs called ``names``; what the others compute stays bit for bit the same.

    Raises:
        ValueError: ``content`` is no LiteRT file, or none of its outputs has such a name.
    """
    if content[4:8] != IDENTIFIER:
        raise ValueError("not a LiteRT file")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    unused = {name.encode() for name in names}
    missing = unused - {graph.tensors[t].name for t in graph.outputs}
    if missing:
        raise ValueError(f"no output is called {', '.join(sorted(name.decode() for name in missing))}")
    kept = [int(t) for t in graph.outputs if graph.tensors[t].name not in unused]
    maker = {int(t): index for index, operator in enumerate(graph.operators) for t in operator.outputs}
    needed: set[int] = set()
    wanted = list(kept)
    while wanted:
        index = maker.get(wanted.pop())
        if index is not None and index not in needed:
            needed.add(index)
            wanted += [int(t) for t in graph.operators[index].inputs]
    graph.operators = [graph.operators[index] for index in sorted(needed)]
    graph.outputs = np.array(kept, np.int32)
    model.signatureDefs = []  # they name every output
    builder = flatbuffers.Builder(len(content) + (1 << 16))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
