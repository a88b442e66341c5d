"""The report: one Markdown source, by pandoc to a self-contained HTML file and by Typst to PDF."""

import shutil
import tempfile
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import pypandoc
import typst

from bnbench.core import identities
from bnbench.core.atomic import explained, write_bytes
from bnbench.core.identities import Identity
from bnbench.core.markdown import READER
from bnbench.figures import fonts, plain
from bnbench.plan.record import PlanRecord
from bnbench.report.sections import TITLE, Inputs, markdown
from bnbench.tables import files as store_tables
from bnbench.tables import labels

ASSETS = package_files("bnbench.report") / "assets"


def write(record: PlanRecord, tables: Path, figures: Path, out: Path) -> None:
    """Write `report.md`, `report.html` and `report.pdf` into `out`; the identity comes last.

    Raises:
        UserError: tables or figures are not those of the plan as they were written.
        SystemFault: `out`, or the folder of temporary files, cannot be written.
    """
    plan = record.as_dict()
    identity = out / "identity"
    identities.forget(identity, "report-*.json")
    tables_id = plan["tables_id"]
    collected = identities.only(tables, f"identity-{tables_id}.json")
    drawn = identities.only(figures.parent / "identity", f"figures-{plan['figures_id']}.json")
    made_from = collected.here | drawn.here
    temporary = tempfile.TemporaryDirectory(prefix="bnbench-report-")
    with explained(Path(tempfile.gettempdir())), temporary as name:
        folder = Path(name)
        (folder / "figures").symlink_to(figures.resolve())
        _check(drawn, plan, figures)
        inputs = Inputs(
            plan=plan,
            record=record,
            runs=store_tables.read(tables, "runs", tables_id),
            summary=store_tables.read(tables, "summary", tables_id),
            tables=tables,
            figures=figures,
            folder="figures",
        )
        text = markdown(inputs)
        made = {"md": text.encode(), "html": to_html(text, folder), "pdf": to_pdf(text, folder)}
        _check(drawn, plan, figures)  # nor was any changed while it was read
    texts = fonts.strings({key: value for key, value in plan.items() if key != "runs"})
    fonts.warn(texts, fonts.fallback([text])[1], "report")
    written = [out / f"report.{kind}" for kind in made]
    for path, content in zip(written, made.values(), strict=True):
        write_bytes(path, content)
    about = {"tier": plan["tier"], "report_id": plan["report_id"]}
    identities.conclude(identity / f"report-{plan['report_id']}.json", about, written, made_from)


def _check(drawn: Identity, plan: dict[str, Any], figures: Path) -> None:
    """Check that what the report shows of the figures is as it was drawn."""
    names = [
        labels.figure_place(study, figure)
        for study, content in plan["studies"].items()
        for figure in content["figures"]
    ]
    names += [labels.contact_sheet(entry["dataset"], entry["augmentation"]) for entry in plan["augmentations"]]
    for file in (f"{name}.{suffix}" for name in names for suffix in ("svg", "md")):
        drawn.content(figures / file)


def _pandoc(text: str, to: str, folder: Path, extra: list[str]) -> str:
    shutil.copyfile(str(ASSETS / "folded.lua"), folder / "folded.lua")
    plain.pandoc()
    options = [*extra, "--wrap=none", "--columns=10000", "--lua-filter=folded.lua", f"--metadata=title:{TITLE}"]
    options.append(f"--data-dir={folder}")  # not the user's: its init.lua would run
    return str(pypandoc.convert_text(text, to, format=READER, extra_args=options, cworkdir=str(folder)))


def to_html(text: str, folder: Path) -> bytes:
    """`text` as one HTML file; images are read from `folder` and embedded, nothing is fetched."""
    template = (ASSETS / "report.html").read_text(encoding="utf-8")
    style = (ASSETS / "report.css").read_text(encoding="utf-8")
    (folder / "template.html").write_text(template.replace("$stylesheet$", style), encoding="utf-8")
    options = ["--standalone", "--toc", "--toc-depth=2", "--embed-resources", "--template=template.html"]
    return _pandoc(text, "html5", folder, options).encode()


def to_pdf(text: str, folder: Path) -> bytes:
    """`text` as PDF, without a date: equal texts give equal bytes.

    Its fonts come with Typst; DejaVu Sans, and of this machine those of the figures, are for what these lack.
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
