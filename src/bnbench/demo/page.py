"""Gradio page of the demo: a canvas to draw on, test images to select, and a card for each view of a run."""

import base64
import io
import logging
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image
from starlette.middleware import Middleware

from bnbench.data.prepared import Images, Prepared
from bnbench.demo.guard import Guard
from bnbench.demo.ink import FORMS, Ink, drawn, strokes_of
from bnbench.demo.views import View

Card = tuple[View, str]  # a view, and the last line of its card

SINGLE = 100  # test images that the accuracy in a card's last line is measured on
SHELF = 16  # test images shown at a time
QUEUE = 100  # largest number of waiting events
EXAMPLE_SIDE = 112  # pixels; height and width of a test image on the page

BLANK = "Nothing drawn yet"
INTRODUCTION = """# What does batch norm really do?
Draw a digit, or select a test image below: each network shows its probability of each class."""


def build(shown: Sequence[View], data: Prepared) -> gr.Blocks:
    """Build the page for these views."""
    cards = [(view, view.single_image_accuracy(data.test.images[:SINGLE], data.test.labels[:SINGLE])) for view in shown]

    def draw(event: gr.EventData) -> str:
        return drawing_answers(cards, FORMS[data.shape], event._data)

    def pick(offset: int, event: gr.EventData) -> str:
        return image_answers(cards, data, offset, event._data)

    def turn(offset: int) -> tuple[int, list[Ink]]:
        offset = offset + SHELF if offset + 2 * SHELF <= len(data.test.images) else 0
        return offset, shelf(data, offset)

    blank = answers(cards, None, BLANK)
    # a network serves one thread at a time; always_last: a stroke may finish while the last one is being processed
    one_by_one = {"concurrency_id": "networks", "concurrency_limit": 1, "trigger_mode": "always_last"}
    one_by_one |= {"show_progress": "hidden"}
    with gr.Blocks(title="bnbench demo", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=0, min_width=330):
                pad = gr.HTML(html_template=_asset("pad.html"), js_on_load=_asset("pad.js"), elem_id="pad")
            with gr.Column(scale=1):
                answer = gr.HTML(blank, elem_id="answers")
        images = gr.Gallery(
            shelf(data, 0), columns=SHELF, allow_preview=False, interactive=False, buttons=[], show_label=False,
            elem_id="shelf", format="png",
        )  # fmt: skip
        offset = gr.State(0)
        other = gr.Button("Other test images", size="sm", elem_id="other")
        pad.input(draw, None, answer, **one_by_one)
        wipe = "offset => { document.querySelector('#pad canvas').dispatchEvent(new Event('wipe')); return offset; }"
        images.select(pick, offset, answer, js=wipe, **one_by_one)
        other.click(turn, offset, [offset, images])
    return page.queue(max_size=QUEUE)


def launch(page: gr.Blocks, host: str, ports: Sequence[int], browser: bool, folder: Path) -> gr.Blocks:
    """Serve a page in the background on the first free port; the page fetches nothing from other servers.

    Only Gradio's own assets and the files of `folder` are served from the disk. Failed requests leave nothing on the
    console.

    Raises:
        OSError: all ports are taken.
    """
    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"], primary_hue="blue")
    inputs = [len(event.inputs) for event in page.fns.values()]
    guarded = {"middleware": [Middleware(Guard, files=folder, inputs=inputs)]}
    for port in ports:
        try:
            page.launch(
                server_name=host, server_port=port, inbrowser=browser, share=False, quiet=True, footer_links=[],
                prevent_thread_lock=True, ssr_mode=False, theme=theme, css=_asset("demo.css"), app_kwargs=guarded,
            )  # fmt: skip
        except OSError:
            if port == ports[-1]:
                raise
        else:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            return page
    raise OSError("no port was named")


def shelf(data: Prepared, offset: int) -> list[Ink]:
    """Return enlarged test images from `offset` on, dark ink on light paper."""
    factor = max(1, EXAMPLE_SIDE // data.shape[1])
    return [np.kron(_paper(image), np.ones((factor,) * 2, np.uint8)) for image in data.test.images[offset:][:SHELF]]


def drawing_answers(cards: Sequence[Card], form: Callable[[Ink], Ink], sent: object) -> str:
    """Return the predictions of all views for a drawing, or the reason why it is invalid, as HTML."""
    try:
        strokes = strokes_of(sent)
    except ValueError as reason:
        return answers(cards, None, f"This drawing cannot be read: {reason}")
    if not strokes:
        return answers(cards, None, BLANK)
    caption = f"Your drawing of {len(strokes)} stroke{'s' * (len(strokes) != 1)}, as input of the networks"
    return answers(cards, form(drawn(strokes))[None], caption)


def image_answers(cards: Sequence[Card], data: Prepared, offset: int, sent: object) -> str:
    """Return the predictions of all views for a selected test image, as HTML.

    Args:
        cards: the views with the last lines of their cards.
        data: the data set of the test images.
        offset: the index of the first test image on the page.
        sent: the page's message, `{"index": N}`, with the position of the selected image on the page.
    """
    index = sent.get("index") if isinstance(sent, dict) else None
    if type(index) is not int or not 0 <= index < min(SHELF, len(data.test.images) - offset):
        return answers(cards, None, "There is no such test image on the page")
    number = offset + index
    return answers(cards, data.test.images[number], f"Test image {number}, a {data.test.labels[number]}")


def answers(cards: Sequence[Card], image: Images | None, caption: str) -> str:
    """Return the predictions of all views for an image (C, H, W), or empty cards, as HTML."""
    seen = f'<img src="{_png(_paper(image))}" alt="">' if image is not None else '<span class="empty"></span>'
    shown = "".join(_card(view, last_line, image) for view, last_line in cards)
    return f'<div class="seen">{seen}<span>{escape(caption)}</span></div><div class="cards">{shown}</div>'


def _card(view: View, last_line: str, image: Images | None) -> str:
    probabilities = [0.0] * view.classes if image is None else view.probabilities(image).tolist()
    answer = "" if image is None else str(probabilities.index(max(probabilities)))
    title, model = escape(view.title), escape(view.run.model)
    bars = "".join(_bar(label, probability) for label, probability in enumerate(probabilities))
    return (
        f'<section data-view="{title}" data-answer="{answer}"><h3>{title}</h3>'
        f'<p class="run">{model}, run {view.run_id}</p><p class="answer">{answer or "&nbsp;"}</p>'
        f"<dl>{bars}</dl><p>{escape(last_line)}</p></section>"
    )


def _bar(label: int, probability: float) -> str:
    percent = f"{100 * probability:.1f}"
    return f'<dt>{label}</dt><dd><i style="width: {percent}%"></i></dd><dd>{percent} %</dd>'


def _paper(image: Images) -> Ink:
    paper: Ink = 255 - image[0]
    return paper


def _png(ink: Ink) -> str:
    buffer = io.BytesIO()
    Image.fromarray(ink).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _asset(name: str) -> str:
    return files("bnbench.demo").joinpath("assets", name).read_text(encoding="utf-8")
