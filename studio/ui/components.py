"""Small shared parts of the page, as HTML: header, badges, notes, progress, numbers, links and downloads.

Everything that comes from a user or a file is escaped here; callers pass plain text.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from models.runtime.device import DeviceInfo
from models.runtime.errors import WeightsMissing
from models.runtime.weights import WeightsStore
from pipelines.base import Pipeline, Progress, choose_engine, ready_weights

PRODUCT = "Likeness Studio"
# Events that only change the page: no spinner, no part of the public interface, as many at once as there are pages.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
LONGEST_CARD = 32  # characters of a summary value that fit a small card
MARK_FILE = Path(__file__).with_name("mark.svg")
_MARK = MARK_FILE.read_text(encoding="utf-8")
_LOOK = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" aria-hidden="true">'
    '<circle cx="12" cy="12" r="8.2"/><path d="M12 3.8a8.2 8.2 0 0 1 0 16.4z" fill="currentColor"/></svg>'
)
_EMPTY = (
    '<svg viewBox="0 0 240 150" fill="none" stroke="var(--primary-500)" stroke-width="1.6" stroke-linejoin="round" '
    'aria-hidden="true"><path d="M60 104 120 72l60 32-60 32z" opacity=".45"/><path d="M84 91V56l36-19 36 19v35"/>'
    '<path d="M84 56l36 19 36-19M120 75v42" opacity=".6"/><path d="M22 44l22-8 4 14-22 8zM48 50l8 9M196 36l22 8-4 '
    '14-22-8zM192 50l-8 9" /><g fill="var(--primary-400)" stroke="none"><circle cx="84" cy="56" r="2.6"/><circle '
    'cx="156" cy="56" r="2.6"/><circle cx="120" cy="37" r="2.6"/><circle cx="120" cy="75" r="2.6"/><circle cx="84" '
    'cy="91" r="2.6"/><circle cx="156" cy="91" r="2.6"/><circle cx="102" cy="66" r="1.6"/><circle cx="138" cy="66" '
    'r="1.6"/><circle cx="102" cy="96" r="1.6"/><circle cx="138" cy="94" r="1.6"/></g></svg>'
)
_WHEN_DRAWN = """async (...given) => {
  const pause = () => new Promise((done) => setTimeout(done, 80));
  const chosen = () => document.getElementById("ID-button")?.getAttribute("aria-selected") === "true";
  const size = () => document.querySelectorAll("#ID *").length;
  await pause();
  for (let looks = 0, same = 0, last = 0; chosen() && looks < 120 && same < 3; looks++) {
    await pause();
    same = last && size() === last ? same + 1 : 0;
    last = size();
  }
  return given;
}"""


@dataclass(frozen=True)
class FileLink:
    """One download: address on this server, title, format, size in bytes.

    ``press`` names a button of the page that makes the file first; such a download is drawn as the chief one.
    """

    url: str
    title: str
    kind: str
    size: int
    press: str = ""


def block(value: str = "", **place: Any) -> gr.HTML:
    """A place for HTML of this module, free of Gradio's own styles for running text."""
    return gr.HTML(value, apply_default_css=False, padding=False, **place)


def bytes_text(size: float) -> str:
    """``1536`` -> ``1.5 KB``, in powers of 1024."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def duration_text(seconds: float) -> str:
    """``75`` -> ``1:15``; hours appear from one hour on."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def age_text(created: float, now: float | None = None) -> str:
    """How long ago ``created`` (seconds since the epoch) was, in words."""
    seconds = max(0.0, (time.time() if now is None else now) - created)
    for limit, unit in ((60, ""), (3600, "min"), (86400, "h"), (float("inf"), "d")):
        if seconds < limit:
            return "just now" if not unit else f"{seconds / {'min': 60, 'h': 3600, 'd': 86400}[unit]:.0f} {unit} ago"
    raise AssertionError("unreachable")


def header(device: DeviceInfo | None) -> str:
    """Product name, device with its free memory, and the light/dark switch."""
    if device is None:
        chip = '<span class="ls-chip"><i></i><em>looking for the device</em></span>'
    else:
        free = f"<em>{bytes_text(device.free_bytes)} free</em>" if device.free_bytes else ""
        chip = f'<span class="ls-chip" id="device-chip"><i></i>{escape(device.name)}{free}</span>'
    return (
        f'<div class="ls-header"><a class="ls-brand" href="./">{_MARK}<div><b>{PRODUCT}</b>'
        "<span>Faces, bodies, voices, characters and places, on your own machine</span></div></a>"
        f'<div class="ls-head-right">{chip}<button class="ls-icon-button" data-ls="look" type="button" '
        f'aria-label="Light or dark" title="Light or dark">{_LOOK}</button></div></div>'
    )


def intro(title: str, tagline: str) -> str:
    return f'<div class="ls-intro"><h2>{escape(title)}</h2><p>{escape(tagline)}</p></div>'


def group_line(title: str, text: str) -> str:
    """The heading of a group of options."""
    return f'<div class="ls-group"><b>{escape(title)}</b> {escape(text)}</div>'


def empty_state(title: str, text: str) -> str:
    return f'<div class="ls-empty">{_EMPTY}<h3>{escape(title)}</h3><p>{escape(text)}</p></div>'


def note(text: str | Iterable[str], tone: str = "", action: str = "") -> str:
    """A quiet box; ``tone`` is empty, ``warn`` or ``bad``; ``action`` is ready HTML (a link or button)."""
    lines = [text] if isinstance(text, str) else list(text)
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<div class="ls-note {tone}">{body}{f"<p>{action}</p>" if action else ""}</div>'


def when_drawn(pipeline_id: str) -> str:
    """The script of an event that changes things in a pipeline's tab, which may be the event that opens it.

    A tab is drawn when it is first opened, and what is sent to it meanwhile is lost. So the page waits until the chosen
    tab stays as it is, ten seconds at most, before it asks the server.
    """
    return _WHEN_DRAWN.replace("ID", f"tab-{pipeline_id}")


def badge(text: str, tone: str = "") -> str:
    return f'<span class="ls-badge {tone}">{escape(text)}</span>'


def models_link(text: str = "Models") -> str:
    """A link that opens the Models tab (the layout has the hidden button it presses)."""
    return f'<button class="ls-link" type="button" data-ls="press" data-value="go-models">{escape(text)}</button>'


def engine_line(pipeline: Pipeline, name: str, weights: WeightsStore) -> str:
    """Which engine will run for the choice ``name`` and why, with the way to the better one."""
    try:
        engine = choose_engine(pipeline, name, weights)
    except WeightsMissing as error:
        return badge_line(badge("not ready", "warn"), error.message, models_link())
    best = pipeline.engines[0]
    if name != "auto":
        why = "as you chose"
    elif engine.name == best.name and not best.embedded:
        why = "the reference engine, its checkpoint is installed"
    elif engine.embedded and best.name != engine.name and ready_weights(best, weights) is None:
        why = f"built in, no download; {best.title} takes over once its checkpoint is installed:"
        return badge_line(badge(engine.title), why, models_link("open Models"))
    else:
        why = "built in, no download"
    return badge_line(badge(engine.title), why)


def badge_line(badges: str, text: str, action: str = "") -> str:
    """Badges (ready HTML), a plain sentence, and perhaps a link (ready HTML)."""
    return f'<div class="ls-badge-line">{badges}<span>{escape(text)}</span>{action}</div>'


def licence_line(licence: str) -> str:
    """Terms of the engine and what the user vouches for by running it."""
    terms = f"Engine licence: {escape(licence)}. " if licence else ""
    return (
        f'<div class="ls-licence">{terms}Use media you have the right to use, and pictures of people only with their '
        "consent. Nothing leaves this machine.</div>"
    )


def progress_box(title: str, progress: Progress | None, seconds: float, note_text: str = "") -> str:
    """Stage in words, n/N, a bar and the time so far, which the page script lets run on between updates."""
    done, total = (progress.done, progress.total) if progress else (0, None)
    count = f"{done} / {total} &middot; " if total else ""
    line = note_text or (progress.note if progress else "")
    clock = f'<span data-elapsed="{seconds:.1f}">{duration_text(seconds)}</span>'
    return (
        f'<div class="ls-progress" role="status"><div class="ls-progress-head"><b>{escape(title)}</b>'
        f"<span>{count}{clock}</span></div>{_bar(done, total)}<small>{escape(line)}</small></div>"
    )


def transfer_box(title: str, done: int, total: int, note_text: str = "") -> str:
    """A download: bytes so far, a bar, and what is going on."""
    amount = f"{bytes_text(done)} / {bytes_text(total)}" if total else bytes_text(done) if done else ""
    return (
        f'<div class="ls-progress" role="status"><div class="ls-progress-head"><b>{escape(title)}</b>'
        f"<span>{amount}</span></div>{_bar(done, total)}<small>{escape(note_text)}</small></div>"
    )


def send_button(text: str, channel: str, value: str, question: str = "") -> str:
    """A small button that hands ``value`` to the server through the hidden ``channel``, after a question if any."""
    confirm = f' data-confirm="{escape(question)}"' if question else ""
    return (
        f'<button class="ls-small-button" type="button" data-ls="send" data-channel="{escape(channel)}" '
        f'data-value="{escape(value)}"{confirm}>{escape(text)}</button>'
    )


def stats(summary: Mapping[str, float | int | str | bool]) -> str:
    """Summary numbers as a grid of small cards; sentences get a row of their own."""
    cards = ""
    for name, value in summary.items():
        shown = _value(name, value)
        wide = " ls-stat-wide" if len(shown) > LONGEST_CARD else ""
        cards += f'<div class="ls-stat{wide}"><b>{escape(shown)}</b><span>{escape(_words(name))}</span></div>'
    return f'<div class="ls-stats">{cards}</div>' if cards else ""


def link_field(run_id: str) -> str:
    """The durable link of a run with a copy button; the page script completes it to a whole address."""
    path = f"/?run={escape(run_id)}"
    return (
        f'<div class="ls-copy"><input readonly aria-label="Link to this result" data-path="{path}" value="{path}">'
        '<button class="ls-small-button" type="button" data-ls="copy">Copy link</button></div>'
    )


def file_row(links: Iterable[FileLink]) -> str:
    """Downloads side by side."""
    items = ""
    for link in links:
        text = f"<b>{escape(link.title)}</b><span>{escape(link.kind)} &middot; {bytes_text(link.size)}</span>"
        if link.press:
            pressed = f'data-ls="press" data-value="{escape(link.press)}"'
            items += f'<button class="ls-file main" type="button" {pressed}>{text}</button>'
        else:
            items += f'<a class="ls-file" href="{escape(link.url)}" download>{text}</a>'
    return f'<div class="ls-files">{items}</div>' if items else ""


def two_columns(rows: Iterable[tuple[str, str]]) -> str:
    """A plain table of names and values."""
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<div class="ls-table-wrap"><table class="ls-table ls-pairs">{lines}</table></div>'


def _bar(done: int, total: int | None) -> str:
    if not total:
        return '<div class="ls-bar unknown"><i></i></div>'
    return f'<div class="ls-bar"><i style="width:{min(100.0, 100.0 * done / total):.1f}%"></i></div>'


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _value(name: str, value: float | int | str | bool) -> str:
    if name.endswith("_share") and isinstance(value, float):
        return f"{value:.0%}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return value
