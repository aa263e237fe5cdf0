"""The Body tab: a photo or video of people into an overlay, moving bodies and motion files."""

from __future__ import annotations

from pathlib import Path

from studio.ui.examples import Example
from studio.ui.job_view import Shell
from studio.ui.tabs.pipeline_tab import PipelineTab

ID = "body"
EXAMPLES_DIR = Path(__file__).resolve().parents[3] / "examples" / "body"

WORDS = {
    "measure": "Looking for people",
    "regress": "Looking for people",
    "solve": "Bending the joints",
    "draw": "Drawing the bodies",
}


class BodyTab(PipelineTab):
    """Draws the tab inside the page and connects it."""

    run_label = "Find the bodies"
    drop_label = "A photo or a video of people"
    empty = (
        "Your bodies appear here",
        "Add a photo or a video of people: everybody in it becomes a posed body, with an overlay to check it by and "
        "motion files for animation programs.",
    )
    words = WORDS
    basic = ("people_multi_person", "motion_smoothing")

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, ID)

    def examples(self) -> list[Example]:
        """Clips of the mannequin that the project renders itself."""
        found = []
        for name, title, note in (("walking", "Walk", "one person waves"), ("crossing", "Crossing", "two people pass")):
            clip, picture = EXAMPLES_DIR / f"{name}.mp4", EXAMPLES_DIR / f"{name}.jpg"
            if clip.is_file() and picture.is_file():
                found.append(Example(title, note, (clip,), picture))
        return found
