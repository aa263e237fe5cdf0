"""The REST surface: one router whose routes the page's server carries beside its own.

``demo.launch(app_kwargs={"routes": build_router(studio).routes}, ssr_mode=False)``. These routes
lie outside the page's own login, size limit and queue, so they bring all three: one dependency checks who calls,
uploads are measured while they arrive, and all work goes through the one job queue.
"""

# No postponed annotations here: the routes' annotations name the dependency of their own router, a local variable.

import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse
from starlette.routing import Match

from models.runtime.errors import Forbidden, NotFound
from pipelines import registry
from pipelines.base import Inputs, Pipeline
from studio import __version__, forms
from studio.api import views
from studio.api.auth import caller_dependency
from studio.api.da3_backend import add_da3
from studio.api.docs import add_docs
from studio.api.easy import add_easy
from studio.api.errors import JsonRoute, Unauthorized, refusal
from studio.api.reconstruct import add_reconstruct
from studio.api.uploads import Form, received
from studio.intake import assign
from studio.privacy import Caller
from studio.refilter import refilter_run
from studio.services import Studio

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_SHOWN = ("image/", "video/", "audio/", "model/")
_STATUSES = {
    400: "The input cannot be used",
    401: "Log in or send a token",
    403: "Not yours, or a request from another web page",
    404: "No such thing",
    409: "Weights or a device are missing",
    413: "Too large",
    422: "A parameter is not valid",
    503: "Too many jobs are waiting",
}


def build_router(studio: Studio) -> APIRouter:
    """All routes of the studio. Pipelines are those of the settings' tabs."""
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": views.ErrorView, "description": text} for status, text in _STATUSES.items()
    }
    router = APIRouter(route_class=JsonRoute, responses=responses)
    caller = caller_dependency(studio.settings)
    _add_health(router, studio, caller)
    _add_jobs(router, studio, caller)
    _add_runs(router, studio, caller)
    _add_weights(router, studio, caller)
    for pipeline_id in registry.available(studio.settings.tabs):
        _add_pipeline(router, studio, caller, registry.get(pipeline_id))
    if "face" in registry.available(studio.settings.tabs):
        add_reconstruct(router, studio, caller)
    if "talk" in registry.available(studio.settings.tabs):
        add_easy(router, studio, caller)
    if "scene" in registry.available(studio.settings.tabs):
        add_da3(router, studio, caller)
    _add_openapi(router)
    add_docs(router)
    _add_rest(router)
    return router


def _add_health(router: APIRouter, studio: Studio, caller: Callable[..., Caller]) -> None:
    @router.get("/health", tags=["studio"], summary="Is the studio up, and how busy is it?")
    def health(request: Request) -> dict[str, Any]:
        """Open to all, so that watchdogs can ask; strangers learn only that it is up and how busy it is."""
        jobs = studio.jobs.active()
        answer: dict[str, Any] = {"status": "ok", "version": __version__, "active_jobs": len(jobs)}
        try:
            caller(request)
        except (Unauthorized, Forbidden):
            return answer
        return answer | {"pipelines": list(registry.available(studio.settings.tabs))}


def _add_pipeline(router: APIRouter, studio: Studio, caller: Callable[..., Caller], pipeline: Pipeline) -> None:
    max_files = sum(role.maximum for role in pipeline.roles)

    @router.post(
        f"/v1/{pipeline.id}",
        tags=["pipelines"],
        status_code=202,
        response_model=views.JobView,
        summary=f"{pipeline.title}: {pipeline.tagline}",
        operation_id=f"submit_{pipeline.id}",
        openapi_extra={"requestBody": views.form_schema(pipeline)},
    )
    async def submit(request: Request, who: Annotated[Caller, Depends(caller)]) -> views.JobView:
        """Queues a job and answers at once; follow it at ``job_url``."""
        studio.jobs.check_room()  # before the upload, not after it
        async with received(request, studio.settings, max_files) as form:
            values = {name: _one(given) for name, given in form.values.items()}
            title = values.pop("title", "")[:200]
            options = forms.build(pipeline.options, values)
            inputs = by_role(pipeline, form)
            job = await to_thread.run_sync(
                lambda: studio.jobs.submit(pipeline.id, inputs, options, who.owner, title=title, keep="move")
            )
        return views.job_view(job.snapshot())


def by_role(pipeline: Pipeline, form: Form) -> Inputs:
    """The form's files by role; those sent as ``files`` are sorted out by what they are."""
    files = {name: tuple(paths) for name, paths in form.files.items()}
    loose = files.pop(views.LOOSE, ())
    if loose:
        for role, paths in assign(pipeline, loose).files.items():
            files[role] = (*files.get(role, ()), *paths)
    return Inputs(files)


def _one(values: list[str]) -> str:
    """Repeated fields become one comma-separated value, which is what list options take."""
    return values[0] if len(values) == 1 else ",".join(values)


def _add_jobs(router: APIRouter, studio: Studio, caller: Callable[..., Caller]) -> None:
    @router.get("/v1/jobs", tags=["jobs"], summary="Your jobs that wait or run")
    def list_jobs(who: Annotated[Caller, Depends(caller)]) -> list[views.JobView]:
        mine = [job for job in studio.jobs.active() if who.listed in (None, job.owner)]
        return [views.job_view(job.snapshot()) for job in mine]

    @router.get("/v1/jobs/{job_id}", tags=["jobs"], summary="How a job is doing")
    def get_job(job_id: str, who: Annotated[Caller, Depends(caller)]) -> views.JobView:
        return views.job_view(studio.jobs.snapshot(job_id))

    @router.delete("/v1/jobs/{job_id}", tags=["jobs"], summary="Stop a job", status_code=202)
    def cancel_job(job_id: str, who: Annotated[Caller, Depends(caller)]) -> views.JobView:
        """A waiting job ends at once, a running one at its next chunk; one that has ended stays as it is."""
        snapshot = studio.jobs.snapshot(job_id)
        if not snapshot.final:
            record = studio.runs.get(job_id)
            if record.owner:  # a job without an owner is stopped by whoever holds its id
                who.check_owns(record)
            studio.jobs.cancel(job_id)
            snapshot = studio.jobs.snapshot(job_id)
        return views.job_view(snapshot)


def _add_runs(router: APIRouter, studio: Studio, caller: Callable[..., Caller]) -> None:
    runs = studio.runs

    @router.get("/v1/runs", tags=["runs"], summary="Your runs, newest first")
    def list_runs(
        who: Annotated[Caller, Depends(caller)],
        pipeline: str | None = None,
        state: Literal["queued", "running", "done", "failed", "cancelled"] | None = None,
        text: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 60,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> views.RunList:
        found = runs.list(who.listed, pipeline, state, text, limit, offset)
        return views.RunList(
            runs=[views.run_view(r) for r in found], total=runs.count(who.listed, pipeline, state, text)
        )

    @router.delete("/v1/runs", tags=["runs"], summary="Delete all your runs")
    def delete_runs(who: Annotated[Caller, Depends(caller)], everyone: bool = False) -> dict[str, int]:
        """Runs that are working stay. ``everyone=true`` deletes other people's too and needs the admin token."""
        if everyone:
            who.check_admin()
        return {"deleted": runs.delete_all(None if everyone else who.owner or who.listed)}

    # Before the plain id, which would take the ending for a part of it.
    @router.get("/v1/runs/{run_id}.zip", tags=["runs"], summary="All results as a ZIP", response_class=FileResponse)
    def get_zip(run_id: str, who: Annotated[Caller, Depends(caller)], inputs: bool = False) -> FileResponse:
        """The results and run.json; with ``inputs=true`` also what was given, which is the owner's alone."""
        if inputs:
            who.check_owns(runs.get(run_id))
        return _served(runs.zip(run_id, inputs))

    @router.get("/v1/runs/{run_id}", tags=["runs"], summary="A run: record, files, links")
    def get_run(run_id: str, who: Annotated[Caller, Depends(caller)]) -> views.RunView:
        view = views.run_view(runs.get(run_id))
        folder = runs.folder(run_id)
        for file in view.files:
            path = folder / file.path
            file.bytes = path.stat().st_size if path.is_file() else None
        return view

    @router.get(
        "/v1/runs/{run_id}/files/{path:path}", tags=["runs"], summary="One result file", response_class=FileResponse
    )
    def get_file(run_id: str, path: str, who: Annotated[Caller, Depends(caller)]) -> FileResponse:
        return _served(runs.file(run_id, path))

    @router.delete("/v1/runs/{run_id}", tags=["runs"], summary="Delete a run and all traces of it", status_code=204)
    def delete_run(run_id: str, who: Annotated[Caller, Depends(caller)]) -> Response:
        who.check_owns(runs.get(run_id))
        runs.delete(run_id)
        return Response(status_code=204)

    @router.post("/v1/runs/{run_id}/again", tags=["runs"], summary="The same again", status_code=202)
    def run_again(run_id: str, who: Annotated[Caller, Depends(caller)]) -> views.JobView:
        """Queues a new job with the inputs and options of a run."""
        record = runs.get(run_id)
        who.check_owns(record)
        return views.job_view(studio.again(record, who.owner).snapshot())

    if "scene" in registry.available(studio.settings.tabs):
        _add_refilter(router, studio, caller)


def _add_refilter(router: APIRouter, studio: Studio, caller: Callable[..., Caller]) -> None:
    from pipelines.scene.options import FilterOptions

    @router.post(
        "/v1/runs/{run_id}/refilter",
        tags=["runs"],
        summary="A finished scene with other filter options",
        openapi_extra={"requestBody": views.options_schema(FilterOptions)},
    )
    async def refilter(run_id: str, request: Request, who: Annotated[Caller, Depends(caller)]) -> views.RunView:
        """Makes the point cloud again from the saved prediction; depth is not computed again."""
        who.check_owns(studio.runs.get(run_id))
        async with received(request, studio.settings, max_files=0) as form:
            options = forms.build(FilterOptions, {name: _one(given) for name, given in form.values.items()})
        return views.run_view(await to_thread.run_sync(lambda: refilter_run(studio.runs, run_id, options)))


def _served(path: Path) -> FileResponse:
    """A file as media the browser may show, or as a download; never as a page that could act in the studio's name."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    shown = kind.startswith(_SHOWN) and kind != "image/svg+xml"
    return FileResponse(
        path,
        media_type=kind,
        filename=path.name,
        content_disposition_type="inline" if shown else "attachment",
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private", "Content-Security-Policy": "sandbox"},
    )


def _add_weights(router: APIRouter, studio: Studio, caller: Callable[..., Caller]) -> None:
    @router.get("/v1/weights", tags=["studio"], summary="Model weights: installed, licence, source")
    def list_weights(who: Annotated[Caller, Depends(caller)]) -> list[views.WeightView]:
        return [views.weight_view(entry, studio.weights.status(entry.id)) for entry in studio.weights.entries()]


def _add_openapi(router: APIRouter) -> None:
    """The description of these routes alone; the page's own routes are no interface for others."""
    described = list(router.routes)

    @router.get("/openapi.json", include_in_schema=False)
    def openapi(request: Request) -> JSONResponse:
        schema = get_openapi(
            title="Likeness Studio",
            version=__version__,
            description="Photos, videos, voices and drawings in; faces, bodies, talking heads, characters, scenes out.",
            routes=described,
        )
        schema["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "STUDIO_API_TOKEN"},
            "login": {"type": "http", "scheme": "basic"},
        }
        schema["security"] = [{}, {"token": []}, {"login": []}]
        root = request.scope.get("root_path", "")
        if root:
            schema["servers"] = [{"url": root}]
        return JSONResponse(schema)


def _add_rest(router: APIRouter) -> None:
    """Paths and methods nobody knows, answered in JSON instead of falling through to the page."""
    known = list(router.routes)

    @router.api_route("/health", methods=METHODS, include_in_schema=False)
    @router.api_route("/reconstruct_download", methods=METHODS, include_in_schema=False)
    @router.api_route("/v1/{rest:path}", methods=METHODS, include_in_schema=False)
    @router.api_route("/easy/{rest:path}", methods=METHODS, include_in_schema=False)
    @router.api_route("/da3/{rest:path}", methods=METHODS, include_in_schema=False)
    def unknown(request: Request) -> JSONResponse:
        allowed: set[str] = set()
        for route in known:
            if route.matches(request.scope)[0] is Match.PARTIAL:
                allowed |= set(getattr(route, "methods", None) or ())
        if allowed:
            names = ", ".join(sorted(allowed))
            return refusal(f"{request.method} is not possible here; try {names}", 405, {"Allow": names})
        raise NotFound(f"There is nothing at {request.url.path:.100}; the routes are described at /docs")
