"""The shape of the package: small files and functions, few modules a folder, and a test file for each module."""

import ast
from pathlib import Path

import pytest

from tests.support.little import ROOT

PACKAGE = ROOT / "src" / "bnbench"
MODULES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
LARGEST_FILE, LARGEST_FUNCTION, MOST_MODULES = 300, 40, 18
# modules without a test file of their name, and the file of `tests/` that tests them
TESTED_IN = {
    "cli.py": "test_cli.py",
    "cluster/sacct.py": "cluster/test_jobs.py",
    "cluster/site_file.py": "cluster/test_jobs.py",
    "cluster/slurm.py": "pipeline/test_slurm.py",
    "core/errors.py": "test_cli.py",
    "core/files.py": "faults/test_bad_disk.py",
    "core/markdown.py": "report/test_render.py",
    "data/checksums.py": "data/formats/test_image_folders.py",
    "data/prepared.py": "data/test_prepare.py",
    "demo/page.py": "demo/test_serve.py",
    "demo/views.py": "demo/test_serve.py",
    "figures/augmentation_sheet.py": "pipeline/test_augmentations.py",
    "figures/captions.py": "figures/test_draw.py",
    "figures/facets.py": "figures/test_draw.py",
    "figures/findings.py": "figures/test_draw.py",
    "figures/heatmap.py": "figures/test_draw.py",
    "figures/hyperplanes.py": "figures/test_probe_figures.py",
    "figures/network_diagram.py": "figures/test_probe_figures.py",
    "figures/network_table.py": "figures/test_probe_figures.py",
    "figures/plot_data.py": "figures/test_draw.py",
    "figures/prediction_grid.py": "figures/test_probe_figures.py",
    "figures/ridges.py": "figures/test_probe_figures.py",
    "figures/scales.py": "figures/test_draw.py",
    "figures/style.py": "figures/test_draw.py",
    "figures/sweeps.py": "figures/test_draw.py",
    "params/messages.py": "params/test_resolve.py",
    "plan/overview.py": "test_cli.py",
    "report/result_tables.py": "report/test_render.py",
    "report/run_lists.py": "report/test_render.py",
    "report/sections.py": "report/test_render.py",
    "store/probe_rows.py": "tables/test_collect.py",
    "store/run_record.py": "training/test_run_writer.py",
    "tables/files.py": "tables/test_collect.py",
    "tables/labels.py": "report/test_render.py",
    "tables/summary.py": "tables/test_collect.py",
    "training/arithmetic/calls.py": "training/arithmetic/test_updates.py",
    "training/arithmetic/matmul.py": "training/arithmetic/test_products.py",
    "training/arithmetic/twister.py": "data/test_random_streams.py",
    "training/engine/layer_programs.py": "training/engine/test_step_program.py",
    "training/engine/program.py": "training/engine/test_step_program.py",
    "training/engine/step.py": "training/test_train.py",
    "training/evaluate.py": "training/test_train.py",
    "training/nets/activations.py": "training/nets/test_network.py",
    "training/nets/image_norms.py": "training/nets/test_batch_norms.py",
    "training/nets/layers.py": "training/nets/test_network.py",
    "training/nets/reference/norms.py": "training/nets/test_batch_norms.py",
    "training/nets/reference/passes.py": "training/nets/reference/test_layers.py",
    "training/pack/loss.py": "training/test_train.py",
    "training/pack/pack.py": "training/test_train.py",
    "training/pack/passes.py": "training/probes/test_probes.py",
    "training/probes/base.py": "training/probes/test_probes.py",
    "training/progress.py": "training/test_job.py",
    "workflow.py": "pipeline/test_pipeline.py",
}


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__init__.py")])
def test_each_module_has_a_test_file(module: str) -> None:
    own = str(Path(module).with_name(f"test_{Path(module).name}"))
    assert (ROOT / "tests" / TESTED_IN.get(module, own)).is_file(), f"tests/{own} is missing"


def test_the_list_of_modules_tested_elsewhere_names_modules_that_exist() -> None:
    assert TESTED_IN.keys() <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_small(module: str) -> None:
    text = (PACKAGE / module).read_text()
    assert len(text.splitlines()) <= LARGEST_FILE
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > LARGEST_FUNCTION} == {}


@pytest.mark.parametrize("folder", sorted({Path(name).parent.as_posix() for name in MODULES}))
def test_no_folder_has_more_modules_than_fit_on_a_screen(folder: str) -> None:
    modules = [path for path in (PACKAGE / folder).glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES
