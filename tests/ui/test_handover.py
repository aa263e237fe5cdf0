"""Results that another tab reads: what is offered, what is refused, and where a job's inputs came from."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from models.runtime.settings import Settings
from pipelines import registry
from pipelines.base import Inputs
from studio.runs import OutputRecord, RunRecord, RunStore
from studio.ui.handover import Handover, parents_of, receive

FROM_BODY = (registry.Link("body", "motion", "scene", "video"),)


@pytest.fixture
def runs(tmp_path: Path) -> RunStore:
    return RunStore(Settings(workspace_dir=tmp_path))


def record(count: int) -> RunRecord:
    outputs = [
        OutputRecord(role="motion", path=f"motion/person_{n}.npz", kind="data", title=f"Motion of person {n} (NPZ)")
        for n in range(1, count + 1)
    ]
    table = OutputRecord(role="joints", path="joints.csv", kind="table", title="Joints")
    return RunRecord(id="a", pipeline="body", state="done", outputs=(*outputs, table))


def test_links_lead_to_roles_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    every = tuple(registry.PIPELINES)
    for link in registry.LINKS:
        assert link.source in registry.PIPELINES
        if link in registry.links(link.source, every):
            assert link.role in {role.name for role in registry.get(link.target).roles}
    monkeypatch.setattr(registry, "LINKS", (registry.Link("body", "motion", "scene", "nothing"),))
    assert registry.links("body", every) == ()
    monkeypatch.setattr(registry, "LINKS", FROM_BODY)
    assert registry.links("body", ("body",)) == ()
    assert registry.links("scene", every) == ()


def test_one_button_for_each_output_that_can_be_sent(runs: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LINKS", FROM_BODY)
    offers = Handover(runs, "body").offers(record(2))
    assert offers["visible"]
    assert offers["value"].count("<button") == 2
    assert "Send motion of person 2 to Scene" in offers["value"]
    assert not Handover(runs, "body").offers(record(0))["visible"]
    assert Handover(runs, "body").offers(record(40))["value"].count("<button") == 8


def test_only_what_was_offered_is_sent(runs: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LINKS", FROM_BODY)
    monkeypatch.setattr(runs, "get", lambda _: record(1))
    handover = Handover(runs, "body")
    for order in ("scene:joints.csv", "face:motion/person_1.npz", "scene:../../secret", "nonsense"):
        with pytest.raises(gr.Error, match="nothing to send"):
            handover._send(order, "a")


def test_parents_are_the_runs_whose_files_are_among_the_inputs() -> None:
    inputs = Inputs({"motion": (Path("x/person_1.npz"),), "sheet": (Path("y/front.png"),)})
    origins = [["person_1.npz", "run1"], ["person_2.npz", "run2"], ["front.png", "run1"]]
    assert parents_of(inputs, origins) == ("run1",)
    assert parents_of(inputs, []) == ()


def test_a_file_goes_to_the_field_of_its_role() -> None:
    with gr.Blocks() as page:
        sent, origins = gr.State(None), gr.State([])
        own, motion = gr.File(), gr.File()
        receive("character", sent, lambda role: motion if role == "motion" else own, origins)
    (function,) = page.fns.values()
    assert motion in function.outputs and own not in function.outputs
    before = {sent: None, motion: ["a/person_1.npz", "a/other.bvh"], origins: []}
    assert function.fn(before) == {}
    told = ["character", "motion", "b/person_1.npz", "run1", "x"]
    found = function.fn({**before, sent: told})
    assert found == {motion: ["a/other.bvh", "b/person_1.npz"], origins: [["person_1.npz", "run1"]]}
    assert function.fn({**before, sent: ["scene", *told[1:]]}) == {}
