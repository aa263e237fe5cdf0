"""A finished scene with other filter options: the point cloud made again from its saved prediction."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from models.runtime.errors import InputError
from studio import traces
from studio.runs import OutputRecord, RunRecord, RunStore

if TYPE_CHECKING:
    from pipelines.scene.options import FilterOptions

_ONE_AT_A_TIME = threading.Lock()  # it takes seconds, but all cores


def refilter_run(runs: RunStore, run_id: str, options: FilterOptions) -> RunRecord:
    """Replaces a scene run's point cloud files and writes the new filter options into its record.

    Raises:
        NotFound: no such run.
        InputError: the run is no finished scene, or the filter leaves no point (the old cloud then stays).
    """
    from pipelines.scene.fusion import fuse
    from pipelines.scene.prediction import Prediction
    from pipelines.scene.refilter import write_cloud

    record = runs.get(run_id)
    prediction = record.first("prediction")
    if record.pipeline != "scene" or record.state != "done" or prediction is None:
        raise InputError("Only a finished scene can be filtered again")
    folder = runs.folder(run_id)
    fresh = folder / f"refilter-{secrets.token_hex(4)}"
    fresh.mkdir()
    try:
        with _ONE_AT_A_TIME:
            views = Prediction.load(runs.file(run_id, prediction.path))
            cloud = fuse(views, options)
            made = write_cloud(views, cloud, fresh, options)
            for output in made:
                (fresh / output.path).replace(folder / output.path)
    finally:
        traces.remove(fresh)
    traces.remove(folder / "download")
    outputs = {o.path: o for o in record.outputs} | {o.path: OutputRecord(**vars(o)) for o in made}
    record = record.model_copy(
        update={
            "options": {**record.options, "filter": options.model_dump(mode="json")},
            "outputs": tuple(outputs.values()),
            "summary": {**record.summary, "points": len(cloud)},
            "bytes": traces.size_of(folder),
        }
    )
    runs.save(record)
    return record
