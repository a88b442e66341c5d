"""The shape of the package: small files and functions, few modules per folder, a test file for each module."""

import ast
from pathlib import Path

import pytest

from tests.support.little import ROOT

PACKAGE = ROOT / "src" / "bnbench"
MODULES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
LARGEST_FILE, LARGEST_FUNCTION, MOST_MODULES = 300, 40, 18
# modules without a test file of their name, and the file of `tests/` that tests them
TESTED_IN = {
    "arguments.py": "test_cli.py",
    "claims/listing.py": "claims/test_table.py",
    "claims/measured.py": "claims/test_kinds.py",
    "claims/reductions.py": "claims/test_kinds.py",
    "cli.py": "test_cli.py",
    "cluster/sacct.py": "cluster/test_jobs.py",
    "cluster/site_file.py": "cluster/test_jobs.py",
    "cluster/slurm.py": "pipeline/test_slurm.py",
    "commands.py": "test_cli.py",
    "core/atomic.py": "faults/test_full_disk.py",
    "core/errors.py": "test_cli.py",
    "core/files.py": "faults/test_plan_records.py",
    "core/git.py": "faults/test_repository.py",
    "core/identities.py": "faults/test_flipped_bits_derived.py",
    "core/lifeline.py": "faults/test_process_ends.py",
    "core/locks.py": "faults/test_locks.py",
    "core/machine.py": "faults/test_memory_limits.py",
    "core/markdown.py": "report/test_render.py",
    "core/names.py": "faults/test_data_named.py",
    "core/signals.py": "faults/test_signals.py",
    "core/standard_streams.py": "faults/test_output_encoding.py",
    "core/starts.py": "faults/test_stale_locks.py",
    "core/workers.py": "faults/test_signals.py",
    "data/checksums.py": "data/formats/test_folders.py",
    "data/formats/decoding.py": "faults/test_image_modes.py",
    "data/formats/readers.py": "params/test_schema.py",
    "data/identity.py": "data/test_prepare.py",
    "data/manifest.py": "faults/test_manifests.py",
    "data/mirrors.py": "data/test_download.py",
    "data/prepared.py": "data/test_prepare.py",
    "demo/guard.py": "faults/test_demo_input.py",
    "demo/page.py": "demo/test_serve.py",
    "demo/views.py": "demo/test_serve.py",
    "figures/augmentation_sheet.py": "pipeline/test_augmentations.py",
    "figures/canvas.py": "figures/test_draw.py",
    "figures/captions.py": "figures/test_draw.py",
    "figures/facets.py": "figures/test_draw.py",
    "figures/findings.py": "figures/test_draw.py",
    "figures/fonts.py": "faults/test_fonts.py",
    "figures/kinds/heatmap.py": "figures/test_probe_figures.py",
    "figures/kinds/hyperplanes.py": "figures/test_probe_figures.py",
    "figures/kinds/networks.py": "figures/test_probe_figures.py",
    "figures/kinds/predictions.py": "figures/test_probe_figures.py",
    "figures/kinds/ridges.py": "figures/test_probe_figures.py",
    "figures/kinds/sweep.py": "figures/test_draw.py",
    "figures/network_table.py": "figures/test_probe_figures.py",
    "figures/plain.py": "faults/test_plot_environment.py",
    "figures/plot_data.py": "figures/test_draw.py",
    "figures/scales.py": "figures/test_draw.py",
    "figures/squares.py": "figures/kinds/test_confusion.py",
    "figures/style.py": "figures/test_draw.py",
    "figures/source.py": "figures/test_draw.py",
    "launch/checks.py": "faults/test_config_keys.py",
    "launch/environment.py": "faults/test_paths_and_homes.py",
    "launch/session.py": "faults/test_stale_locks.py",
    "manage/derived.py": "faults/test_doctor_whole.py",
    "manage/dvc_checks.py": "manage/test_doctor.py",
    "manage/published.py": "manage/test_verify.py",
    "manage/processes.py": "faults/test_stale_locks.py",
    "manage/retrain.py": "manage/test_explain.py",
    "manage/tiers.py": "faults/test_other_tiers.py",
    "params/claims/schema.py": "claims/test_declared.py",
    "params/claims/selection.py": "params/claims/test_rules.py",
    "params/config.py": "faults/test_config_keys.py",
    "params/dataset_schema.py": "params/test_schema.py",
    "params/fields.py": "params/test_schema.py",
    "params/layers/activations.py": "params/layers/test_norms.py",
    "params/layers/norm_checks.py": "params/test_norm_rules.py",
    "params/messages.py": "params/test_resolve.py",
    "params/run_schema.py": "params/test_schema.py",
    "params/study_schema.py": "params/test_schema.py",
    "params/values.py": "faults/test_parameter_values.py",
    "plan/marks.py": "plan/test_plan.py",
    "report/result_tables.py": "report/test_render.py",
    "report/run_lists.py": "report/test_render.py",
    "report/sections.py": "report/test_render.py",
    "store/measurements.py": "manage/test_verify.py",
    "store/probe_rows.py": "tables/test_collect.py",
    "store/records.py": "store/test_provenance.py",
    "store/run_record.py": "training/test_run_writer.py",
    "store/validation.py": "plan/test_record.py",
    "tables/column_names.py": "params/test_schema.py",
    "tables/files.py": "tables/test_collect.py",
    "tables/intervals.py": "report/test_published.py",
    "tables/probes.py": "figures/test_probe_figures.py",
    "tables/labels.py": "report/test_render.py",
    "training/kernels/loops.py": "training/kernels/test_triton_norms.py",
    "training/kernels/matmul.py": "faults/test_products_per_run.py",
    "training/kernels/torch_loops.py": "training/kernels/test_triton_norms.py",
    "training/engine/choose.py": "training/engine/test_compiled_steps.py",
    "training/engine/layer_calls.py": "training/engine/test_compiled_network.py",
    "training/engine/norm_calls.py": "training/engine/test_compiled_network.py",
    "training/engine/program.py": "training/engine/test_compiled_steps.py",
    "training/engine/step.py": "training/test_train.py",
    "training/evaluate.py": "training/test_train.py",
    "training/nets/activations.py": "training/nets/test_network.py",
    "training/nets/build.py": "training/nets/test_network.py",
    "training/nets/layers.py": "training/nets/test_network.py",
    "training/nets/reference/norm_passes.py": "training/nets/test_batch_norms.py",
    "training/nets/reference/norms.py": "training/nets/test_batch_norms.py",
    "training/nets/reference/passes.py": "training/nets/reference/test_layers.py",
    "training/nets/reference/table.py": "params/layers/test_norms.py",
    "training/nets/sample_norms.py": "training/nets/test_batch_norms.py",
    "training/pack/loss.py": "training/test_train.py",
    "training/pack/pack.py": "training/test_train.py",
    "training/pack/passes.py": "training/probes/test_probes.py",
    "training/probes/base.py": "training/probes/test_probes.py",
    "training/progress.py": "training/test_job.py",
    "training/worker.py": "training/test_job.py",
    "training/provenance.py": "store/test_provenance.py",
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
