"""The page in a real browser: run, stop, leave, come back, share, and everything a clumsy visitor does."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.browser import steps

pytestmark = pytest.mark.browser


def test_example_is_drawn_and_nothing_is_fetched_from_outside(studio, open_page) -> None:
    page = open_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(studio.url)
    steps.ready(page)
    page.get_by_text("Motorcycle").click()
    page.locator("#scene-given img").first.wait_for()
    steps.run(page)

    assert steps.wait_for_drawing(page) >= 500
    assert "Structure from motion" in page.locator("#scene-result-head").inner_text()
    assert "60,000" in page.locator(".ls-stats").inner_text()
    outside = [url for url in asked if not url.startswith((studio.url, "data:", "blob:", "about:"))]
    assert outside == []

    steps.tab(page, "Views")
    page.locator("#scene-slider img").first.wait_for()
    before = page.locator("#scene-slider img").nth(1).get_attribute("src")
    page.get_by_label("Confidence").check()
    page.wait_for_function(
        "before => document.querySelectorAll('#scene-slider img')[1].getAttribute('src') !== before", arg=before
    )
    steps.tab(page, "Camera path")
    page.locator("#scene-plot canvas").first.wait_for()


def test_stop_ends_the_job_within_a_chunk_and_the_next_one_runs(studio, open_page, photos) -> None:
    page = steps.ready(open_page(studio.url))
    steps.give(page, photos)
    steps.option(page, "chunks", 200)
    steps.option(page, "chunk_seconds", 0.3)
    steps.run(page)
    page.locator("#scene-progress").get_by_text(re.compile(r"\d+ / 200")).wait_for()
    page.locator("#scene-stop").click()
    pressed = time.monotonic()
    page.locator("#scene-progress").get_by_text("Stopped.").wait_for()
    assert time.monotonic() - pressed < 15  # its chunks would have taken a minute
    assert studio.get("/health")["active_jobs"] == 0

    steps.option(page, "chunks", 1)
    steps.run(page)
    assert steps.wait_for_drawing(page) >= 500


def test_a_second_visitor_waits_in_the_queue_and_may_leave_it(studio, open_page, photos) -> None:
    first, second = (steps.ready(open_page(studio.url)) for _ in range(2))
    for page in (first, second):
        steps.give(page, photos)
        steps.option(page, "chunks", 200)
        steps.option(page, "chunk_seconds", 0.2)
    steps.run(first)
    first.locator("#scene-progress").get_by_text(re.compile(r"\d+ / 200")).wait_for()
    steps.run(second)
    second.locator("#scene-progress").get_by_text("1 job is before yours").wait_for()
    second.locator("#scene-stop").click()
    second.locator("#scene-progress").get_by_text("Stopped.").wait_for()
    assert studio.get("/health")["active_jobs"] == 1
    first.locator("#scene-stop").click()
    first.locator("#scene-progress").get_by_text("Stopped.").wait_for()


def test_closing_the_page_leaves_the_job_running_and_it_is_in_the_gallery(studio, open_page, photos) -> None:
    page = steps.ready(open_page(studio.url))
    context = page.context
    steps.give(page, photos)
    steps.option(page, "chunks", 8)
    steps.option(page, "chunk_seconds", 2.0)  # the page takes a while to come back on a busy machine
    steps.run(page)
    page.locator("#scene-progress").get_by_text(re.compile(r"\d+ / 8")).wait_for()
    before = len(studio.get("/v1/runs?state=done")["runs"])
    page.close()
    page = context.new_page()
    page.goto(studio.url)
    # The same browser is led back to its running job.
    page.locator("#scene-progress").get_by_text(re.compile(r"\d+ / 8")).wait_for()
    page.close()
    for _ in range(240):
        if len(studio.get("/v1/runs?state=done")["runs"]) > before:
            break
        time.sleep(0.25)

    page = context.new_page()
    page.goto(studio.url)
    steps.ready(page)
    steps.tab(page, "Gallery")
    page.locator(".ls-card").first.get_by_text("view_0.jpg").wait_for()
    page.locator(".ls-card-open").first.click()
    assert steps.wait_for_drawing(page) >= 500


def test_durable_link_opens_read_only_in_a_fresh_browser(studio, open_page, photos) -> None:
    page = steps.ready(open_page(studio.url))
    steps.give(page, photos)
    steps.run(page)
    page.locator("#scene-result-head input").wait_for()
    link = page.locator("#scene-result-head input").input_value()
    assert link.startswith(f"{studio.url}/?run=")

    stranger = open_page(link)
    assert steps.wait_for_drawing(stranger) >= 500
    assert stranger.locator("#scene-run").count() == 0 or not stranger.locator("#scene-run").is_visible()
    assert "read only" in stranger.locator("#scene-result-head").inner_text()
    assert not stranger.locator("#scene-refine").is_visible()
    with stranger.expect_download() as download:
        stranger.locator("#scene-files-row .ls-file.main").click()
    assert download.value.suggested_filename.endswith(".zip")
    assert Path(download.value.path()).stat().st_size > 100_000

    lost = open_page(f"{studio.url}/?run={'x' * 24}")
    lost.locator("#studio-banner").get_by_text("There is no such run").wait_for()


def test_a_link_shows_its_result_in_a_tab_that_is_drawn_only_then(start_studio, open_page, photos) -> None:
    several = start_studio("--tabs", "talk", "scene")
    page = open_page(several.url)
    steps.tab(page, "Scene")
    steps.give(steps.ready(page), photos)
    steps.run(page)
    page.locator("#scene-result-head input").wait_for()
    stranger = open_page(page.locator("#scene-result-head input").input_value())
    stranger.locator("#scene-result-head", has_text="read only").wait_for()
    assert not stranger.locator("#scene-run").is_visible()

    page.reload()
    steps.tab(page, "Gallery")
    page.locator(".ls-card-open").first.click()
    page.locator("#scene-result-head input").wait_for()
    assert page.locator("#scene-run").is_visible()


def test_gallery_filters_runs_again_and_deletes(studio, open_page, photos) -> None:
    page = steps.ready(open_page(studio.url))
    steps.give(page, photos[:2])
    steps.run(page)
    page.locator("#scene-result-head input").wait_for()
    run_id = page.locator("#scene-result-head input").input_value().rpartition("=")[2]
    steps.tab(page, "Gallery")
    card = page.locator(f".ls-card[data-run='{run_id}']")
    card.wait_for()
    page.get_by_label("Search").fill("no such name")
    page.get_by_text("Nothing matches").wait_for()
    page.get_by_label("Search").fill("view_0")
    card.wait_for()

    card.get_by_text("Run again").click()
    page.locator(f"#scene-result-head input:not([value*='{run_id}'])").wait_for()
    again = page.locator("#scene-result-head input").input_value().rpartition("=")[2]
    assert studio.get(f"/v1/runs/{again}")["run"]["parents"] == [run_id]

    steps.tab(page, "Gallery")
    page.on("dialog", lambda dialog: dialog.accept())
    card.get_by_text("Delete").click()
    card.wait_for(state="detached")
    assert not (studio.workspace / "runs" / run_id).exists()
    assert not (studio.workspace / "gradio" / "runs" / run_id).exists()


def bad_files(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Unusable input by name: the files and what the page has to say."""
    text, empty, one, cut = (folder / name for name in ("text.jpg", "empty.jpg", "one.jpg", "cut.jpg"))
    text.write_text("This is no photo.")
    empty.write_bytes(b"")
    Image.new("RGB", (320, 240), (120, 60, 30)).save(one)
    cut.write_bytes(one.read_bytes()[:300])
    return {
        "text": ([str(text)], "text.jpg is a text file"),
        "empty": ([str(empty)], "empty"),
        "one": ([str(one)], "at least two photos"),
        "cut": ([str(one), str(cut)], "damaged"),
    }


def test_bad_input_is_explained_and_the_page_goes_on(studio, open_page, photos, tmp_path) -> None:
    page = steps.ready(open_page(studio.url))
    steps.run(page)
    page.locator("#scene-progress").get_by_text("Nothing to work on yet").wait_for()
    for files, words in bad_files(tmp_path).values():
        steps.give(page, files)
        steps.run(page)
        page.locator("#scene-progress").get_by_text(words).wait_for()
        page.locator(".toast-body").get_by_text(words).first.wait_for()
    assert "Traceback" not in page.content()
    steps.give(page, photos)
    steps.run(page)
    assert steps.wait_for_drawing(page) >= 500


def test_one_photo_says_what_is_needed_and_leads_to_the_models(studio, open_page, photos) -> None:
    page = steps.ready(open_page(studio.url))
    steps.give(page, photos[:1])
    page.locator("#scene-given").get_by_text("at least two photos").wait_for()
    page.locator("#scene-given").get_by_text("See the checkpoints in Models").click()
    table = page.locator("#models-table")
    table.get_by_text("Depth Anything 3 Small").wait_for()
    assert "commercial use allowed" in table.inner_text()


def test_a_file_that_is_no_checkpoint_is_refused(studio, open_page, tmp_path) -> None:
    page = steps.ready(open_page(studio.url))
    steps.tab(page, "Models")
    row = page.locator("#models-table tr", has_text="da3-small")
    row.get_by_text("Download").click()
    page.locator("#models-news").get_by_text("offline").wait_for()

    junk = tmp_path / "model.safetensors"
    junk.write_bytes(b"not a checkpoint" * 100)
    page.get_by_label("Which one it is").click()
    page.get_by_role("option", name=re.compile("da3-small")).click()
    page.set_input_files("#models-file input[type=file]", str(junk))
    page.locator("#models-file .file-preview").wait_for()
    page.locator("#models-install").click()
    page.locator(".toast-body").filter(has_text=re.compile("bytes instead of|safetensors")).first.wait_for()


@pytest.mark.parametrize(("width", "height", "dark"), [(1400, 950, True), (390, 844, False)])
def test_dark_and_phone(studio, open_page, photos, tmp_path, width, height, dark) -> None:
    page = steps.ready(open_page(studio.url, width, height, dark))
    assert page.evaluate("document.body.classList.contains('dark')") == dark
    steps.give(page, photos)
    steps.run(page)
    assert steps.wait_for_drawing(page) >= 500
    for name in ("Scene", "Gallery", "Models"):
        steps.tab(page, name)
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=tmp_path / f"{name}_{width}_{'dark' if dark else 'light'}.png", full_page=True)
    page.locator("[data-ls=look]").click()
    assert page.evaluate("document.body.classList.contains('dark')") != dark
