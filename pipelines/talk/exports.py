"""Files beside the video: the timeline plot, the curves as data, the poster, what was heard as text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from pipelines.talk.visemes import CHANNELS, RATE
from pipelines.talk.work import TalkWork

PLOT_POINTS = 3000
MOST_LABELS = 400
_GRID = "rgba(128,140,136,.22)"  # seen on light and on dark pages
_COLOURS = {"opening": "#0f8a74", "width": "#8a6fd1", "closure": "#d0553f", "tuck": "#d39b2a"}


def write_curves(path: Path, work: TalkWork) -> Path:
    """Phones and per-frame curves as JSON."""
    values = {name: np.round(work.curves[:, i], 4).tolist() for i, name in enumerate(CHANNELS)}
    data = {
        "fps": float(work.fps),
        "seconds": work.speech.seconds,
        "method": work.speech.method,
        "phones": [[p.name, round(p.start, 3), round(p.end, 3)] for p in work.speech.phones],
        "words": [[w.text, round(w.start, 3), round(w.end, 3), round(w.confidence, 3)] for w in work.speech.words],
        "curves": values,
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def write_timeline(path: Path, work: TalkWork) -> Path:
    """The mouth over the waveform as a plotly figure (JSON)."""
    figure = go.Figure()
    top = work.speech.envelope
    time = (np.arange(len(top)) + 0.5) * work.speech.seconds / max(len(top), 1)
    top = top / max(float(top.max(initial=0.0)), 1e-6)
    wave = {"x": np.concatenate([time, time[::-1]]), "y": np.concatenate([top, -top[::-1]])}
    figure.add_trace(
        go.Scatter(
            **wave, fill="toself", mode="lines", line={"width": 0}, fillcolor="rgba(128,140,136,.35)", name="voice",
            hoverinfo="skip",
        )
    )  # fmt: skip
    values = work.speech.curves.values
    every = max(1, len(values) // PLOT_POINTS)
    at = np.arange(0, len(values), every) / RATE
    for name, colour in _COLOURS.items():
        line = values[::every, CHANNELS.index(name)]
        visible = True if name in ("opening", "closure") else "legendonly"
        figure.add_trace(
            go.Scatter(x=at, y=np.round(line, 3), mode="lines", line={"color": colour}, name=name, visible=visible)
        )
    sounds = [p for p in work.speech.phones if p.name != "SIL"][:MOST_LABELS]
    if sounds:
        middle = [(p.start + p.end) / 2 for p in sounds]
        figure.add_trace(
            go.Scatter(
                x=middle, y=[-1.08 - 0.13 * (k % 2) for k in range(len(sounds))], text=[p.name for p in sounds],
                mode="text", name="sounds", textfont={"size": 9},
            )
        )  # fmt: skip
    seconds = work.speech.seconds
    figure.update_layout(
        xaxis={
            "title": "seconds", "range": [0, min(seconds, 8.0)], "rangeslider": {"visible": seconds > 8.0},
            "gridcolor": _GRID, "zerolinecolor": _GRID,
        },
        yaxis={"range": [-1.3, 1.1], "showticklabels": False, "showgrid": False, "zerolinecolor": _GRID},
        legend={"orientation": "h"},
        hovermode="x",
    )  # fmt: skip
    path.write_text(figure.to_json(), encoding="utf-8")
    return path
