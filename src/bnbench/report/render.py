"""Rendering of the report: one Markdown source, converted by pandoc to self-contained HTML and by Typst to PDF."""

import shutil
import tempfile
from importlib.resources import files as package_files
from pathlib import Path

import pypandoc
import typst

from bnbench.core import identities
from bnbench.core.atomic import explained, write_bytes
from bnbench.core.identities import Identity
from bnbench.core.markdown import READER
from bnbench.figures import fonts, plain
from bnbench.plan.record import PlanRecord
from bnbench.report.sections import FIGURES, TITLE, Inputs, markdown
from bnbench.tables import files as store_tables
from bnbench.tables import labels

ASSETS = package_files("bnbench.report") / "assets"


def write(plan: PlanRecord, tables: Path, figures: Path, out: Path) -> None:
    """Write `report.md`, `report.html` and `report.pdf` into `out`, then their identity.

    The identity is removed first and written last, so a report that was not finished is never taken for one.

    Raises:
        UserError: tables or figures belong to another plan, or were altered.
        SystemFault: `out` or the folder of temporary files cannot be written.
    """
    identity = out / "identity"
    identities.forget(identity, "report-*.json")
    collected = identities.only(tables, f"identity-{plan.tables_id}.json")
    drawn = identities.only(figures.parent / "identity", f"figures-{plan.figures_id}.json")
    machine = identities.only(tables, f"environment-{plan.tables_id}.json")
    made_from = collected.here | machine.here | drawn.here
    temporary = tempfile.TemporaryDirectory(prefix="bnbench-report-")
    with explained(Path(tempfile.gettempdir())), temporary as name:
        folder = Path(name)
        (folder / FIGURES).symlink_to(figures.resolve())
        _check(drawn, plan, figures)
        inputs = Inputs(
            plan=plan,
            runs=store_tables.read(tables, "runs", plan.tables_id),
            summary=store_tables.read(tables, "summary", plan.tables_id),
            environment=store_tables.read(tables, "environment", plan.tables_id),
            tables=tables,
            figures=figures,
        )
        text = markdown(inputs)
        rendered = {"md": text.encode(), "html": to_html(text, folder), "pdf": to_pdf(text, folder)}
        _check(drawn, plan, figures)  # none was changed while it was read
    texts = fonts.strings({key: value for key, value in plan.as_dict().items() if key != "runs"})
    fonts.warn(texts, fonts.fallback([text])[1], "report")
    written = [out / f"report.{kind}" for kind in rendered]
    for path, content in zip(written, rendered.values(), strict=True):
        write_bytes(path, content)
    about = {"tier": plan.tier, "report_id": plan.report_id}
    identities.conclude(identity / f"report-{plan.report_id}.json", about, written, made_from)


def _check(drawn: Identity, plan: PlanRecord, figures: Path) -> None:
    """Check that images and captions are unaltered."""
    names = [labels.figure_place(name, figure) for name, study in plan.studies.items() for figure in study.figures]
    names += [labels.contact_sheet(one.dataset, one.augmentation) for one in plan.augmentations]
    for file in (f"{name}.{suffix}" for name in names for suffix in ("svg", "md")):
        drawn.content(figures / file)


def _pandoc(text: str, to: str, folder: Path, extra: list[str]) -> str:
    shutil.copyfile(str(ASSETS / "folded.lua"), folder / "folded.lua")
    plain.pandoc()
    options = [*extra, "--wrap=none", "--columns=10000", "--lua-filter=folded.lua", f"--metadata=title:{TITLE}"]
    options.append(f"--data-dir={folder}")  # not the user's: its init.lua would run
    return str(pypandoc.convert_text(text, to, format=READER, extra_args=options, cworkdir=str(folder)))


def to_html(text: str, folder: Path) -> bytes:
    """Convert Markdown to one HTML file; images are read from `folder` and embedded, nothing is fetched."""
    template = (ASSETS / "report.html").read_text(encoding="utf-8")
    style = (ASSETS / "report.css").read_text(encoding="utf-8")
    (folder / "template.html").write_text(template.replace("$stylesheet$", style), encoding="utf-8")
    options = ["--standalone", "--toc", "--toc-depth=2", "--embed-resources", "--template=template.html"]
    return _pandoc(text, "html5", folder, options).encode()


def to_pdf(text: str, folder: Path) -> bytes:
    """Convert Markdown to PDF without a date, so that equal texts give equal bytes.

    Fonts: those that come with Typst; for characters that these lack, DejaVu Sans and the machine's fonts that the
    figures use.
    """
    shutil.copyfile(str(ASSETS / "report.typ"), folder / "template.typ")
    source = folder / "report.typ"
    content = _pandoc(text, "typst", folder, ["--standalone", "--template=template.typ"])
    source.write_text(content, encoding="utf-8")
    (folder / "fonts").mkdir()
    for index, font in enumerate([fonts.OWN, *fonts.fallback([text])[0]]):
        (folder / "fonts" / f"{index}{font.suffix}").symlink_to(font)
    paths = [folder / "fonts"]
    return bytes(typst.compile(source, root=folder, font_paths=paths, ignore_system_fonts=True, timestamp=0))
