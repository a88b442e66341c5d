"""The demo's page in Gradio: a paper to draw on, test images to pick from, and a card for each view of a run."""

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

Card = tuple[View, str]  # and its last line

ALONE = 100  # test images that a card's last line is about
SHELF = 16  # test images to pick from at a time
QUEUE = 100  # events that wait at a time
EXAMPLE_SIDE = 112  # pixels of a picked image on the shelf

BLANK = "Nothing drawn yet"
INTRODUCTION = """# What does batch norm really do?
Draw a digit, or pick a test image below, and see how probable each network finds each class."""


def build(shown: Sequence[View], data: Prepared) -> gr.Blocks:
    """The page for these views."""
    cards = [(view, view.alone(data.test.images[:ALONE], data.test.labels[:ALONE])) for view in shown]

    def draw(event: gr.EventData) -> str:
        return drawing_answers(cards, FORMS[data.shape], event._data)

    def pick(offset: int, event: gr.EventData) -> str:
        return image_answers(cards, data, offset, event._data)

    def turn(offset: int) -> tuple[int, list[Ink]]:
        offset = offset + SHELF if offset + 2 * SHELF <= len(data.test.images) else 0
        return offset, shelf(data, offset)

    blank = answers(cards, None, BLANK)
    # networks are not for two threads; always_last: a stroke may end while the one before is being answered
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
    """Serve a page in the background on the first of these ports that is free; nothing is fetched from elsewhere.

    Of the disk nothing is served but Gradio's own assets and the files of `folder`. What a request does is not told
    on the console.

    Raises:
        OSError: all are taken.
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
    """Test images to pick from, dark ink on light paper, large enough to be seen."""
    factor = max(1, EXAMPLE_SIDE // data.shape[1])
    return [np.kron(_paper(image), np.ones((factor,) * 2, np.uint8)) for image in data.test.images[offset:][:SHELF]]


def drawing_answers(cards: Sequence[Card], form: Callable[[Ink], Ink], sent: object) -> str:
    """What all views say of what was drawn, or why it cannot be read, as HTML."""
    try:
        strokes = strokes_of(sent)
    except ValueError as reason:
        return answers(cards, None, f"This drawing cannot be read: {reason}")
    if not strokes:
        return answers(cards, None, BLANK)
    caption = f"Your drawing of {len(strokes)} stroke{'s' * (len(strokes) != 1)}, as the networks get it"
    return answers(cards, form(drawn(strokes))[None], caption)


def image_answers(cards: Sequence[Card], data: Prepared, offset: int, sent: object) -> str:
    """What all views say of the test image picked from the shelf that begins at `offset`, as HTML."""
    index = sent.get("index") if isinstance(sent, dict) else None
    if type(index) is not int or not 0 <= index < min(SHELF, len(data.test.images) - offset):
        return answers(cards, None, "There is no such test image on the shelf")
    place = offset + index
    return answers(cards, data.test.images[place], f"Test image {place}, a {data.test.labels[place]}")


def answers(cards: Sequence[Card], image: Images | None, caption: str) -> str:
    """What all views say of an image (C, H, W), as HTML."""
    seen = f'<img src="{_png(_paper(image))}" alt="">' if image is not None else '<span class="empty"></span>'
    made = "".join(_card(view, alone, image) for view, alone in cards)
    return f'<div class="seen">{seen}<span>{escape(caption)}</span></div><div class="cards">{made}</div>'


def _card(view: View, alone: str, image: Images | None) -> str:
    chances = [0.0] * view.classes if image is None else view.chances(image).tolist()
    answer = "" if image is None else str(chances.index(max(chances)))
    title, model = escape(view.title), escape(view.run.model)
    bars = "".join(_bar(label, chance) for label, chance in enumerate(chances))
    return (
        f'<section data-view="{title}" data-answer="{answer}"><h3>{title}</h3>'
        f'<p class="run">{model}, run {view.run_id}</p><p class="answer">{answer or "&nbsp;"}</p>'
        f"<dl>{bars}</dl><p>{escape(alone)}</p></section>"
    )


def _bar(label: int, chance: float) -> str:
    percent = f"{100 * chance:.1f}"
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
