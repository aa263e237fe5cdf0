"""The look of the studio: one Gradio theme, one style sheet, one page script; no font or file from outside."""

from __future__ import annotations

from pathlib import Path

import gradio
from gradio.themes import Base
from gradio.themes.utils import colors, fonts, sizes

_HERE = Path(__file__).parent

PINE = colors.Color(
    name="pine",
    c50="#eefaf6",
    c100="#d5f2e8",
    c200="#aee4d3",
    c300="#79cfb8",
    c400="#43b397",
    c500="#1f977c",
    c600="#127a65",
    c700="#116253",
    c800="#114e44",
    c900="#104139",
    c950="#052521",
)
STONE = colors.Color(
    name="stone",
    c50="#f8f9f8",
    c100="#f0f2f1",
    c200="#e1e5e3",
    c300="#cbd2cf",
    c400="#98a39f",
    c500="#6a7672",
    c600="#4f5a57",
    c700="#3a4441",
    c800="#232b29",
    c900="#171d1c",
    c950="#0f1413",
)


def build_theme() -> Base:
    """Pine green on warm grey stone, flat panels with hairlines; IBM Plex Sans and Montserrat as Gradio ships them."""
    theme = Base(
        primary_hue=PINE,
        secondary_hue=PINE,
        neutral_hue=STONE,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_md,
        text_size=sizes.text_md,
        # Gradio ships the semi-bold cuts with letters missing, so 400 and 700 only. Montserrat is for headings: naming
        # it here makes Gradio emit its font face.
        font=(
            fonts.LocalFont("IBM Plex Sans", weights=(400, 700)),
            fonts.LocalFont("Montserrat", weights=(700,)),
            "ui-sans-serif",
            "system-ui",
            "sans-serif",
        ),
        font_mono=(fonts.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "Consolas", "monospace"),
    )
    theme.custom_css = (_HERE / "login.css").read_text(encoding="utf-8")
    return theme.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_800",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_800",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*neutral_500",
        block_label_text_color_dark="*neutral_400",
        block_label_text_weight="600",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="white",
        input_background_fill_dark="*neutral_950",
        input_border_width="1px",
        input_border_color="*neutral_200",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
        slider_color="*primary_500",
        slider_color_dark="*primary_400",
        loader_color="*primary_500",
        button_large_radius="*radius_lg",
        button_medium_radius="*radius_lg",
        button_small_radius="*radius_md",
        button_transition="background-color .15s ease, border-color .15s ease, color .15s ease",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="white",
        button_primary_text_color_dark="*neutral_950",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_border_width="1px",
        checkbox_label_background_fill="white",
        checkbox_label_background_fill_dark="*neutral_900",
    )


def style_sheet() -> str:
    """The text of ``style.css``."""
    return (_HERE / "style.css").read_text(encoding="utf-8")


def page_head() -> str:
    """Elements for the page's head: the page script inline, so that it needs no route of its own."""
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return f'<meta name="robots" content="noindex"><script>{script}</script>{_viewer_preload()}'


def _viewer_preload() -> str:
    """Fetches the 3D viewer's code once the page is idle.

    Not for speed alone: Gradio's viewer drops a model whose properties are touched again while its code still loads.
    """
    found = sorted((Path(gradio.__file__).parent / "templates/frontend/assets").glob("Canvas3D-*.js"))
    wait = 'addEventListener("load", () => setTimeout(() => import("./assets/%s"), 300));'
    return f'<script type="module">{wait % found[0].name}</script>' if found else ""
