"""Probes: measurements inside training besides loss and accuracy. Adding one is one entry of `PROBES`.

A run's setting `probes` names those that are active; the others cost nothing. Measurements are rows of long form. A
probe measures at one moment: at the start, in a step (after the gradients, before the update), at an evaluation, or at
the end, when the network is bound to the kept weights.
"""

import math
from collections import defaultdict

import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.pack.pack import Pack
from bnbench.training.pack.passes import walk
from bnbench.training.probes import activations, gradients, predictions
from bnbench.training.probes.base import Moment, Probe

PROBES: dict[str, Probe] = {
    "hyperplanes": activations.HYPERPLANES,
    "gradients": gradients.GRADIENTS,
    "smoothness": gradients.SMOOTHNESS,
    "outputs_histogram": activations.OUTPUTS_HISTOGRAM,
    "neurons": activations.NEURONS,
    "percentiles": activations.PERCENTILES,
    "activations": activations.ACTIVATIONS,
    "drift": gradients.DRIFT,
    "one_by_one": predictions.ONE_BY_ONE,
    "population": predictions.POPULATION,
    "dead_units": activations.DEAD_UNITS,
}


def looks(pack: Pack, moment: Moment) -> bool:
    """Return whether a probe is due at this moment of the pack's present step."""
    return any(PROBES[name].moment == moment and PROBES[name].due(pack) for name in pack.run.probes)


def look(pack: Pack, moment: Moment) -> None:
    """Append the measurements of all probes that are due at this moment to `pack.probed`."""
    if not pack.run.probes:
        return
    active = {name: probe for name, probe in PROBES.items() if name in pack.run.probes}
    due: dict[str, Probe] = {
        name: probe for name, probe in active.items() if probe.moment == moment and probe.due(pack)
    }
    picked = _pick(pack, due)
    steps = pack.kept_steps if moment == "end" else [pack.step + (moment == "step")] * len(pack.names)
    for name, probe in due.items():
        for row, step, cells in zip(
            pack.probed, steps, probe.cells(pack, picked.get(name, torch.empty(0))), strict=True
        ):
            row += [(name, step, step / pack.epoch_steps, *cell[1:], _finite(cell.value)) for cell in cells]


def memory(run: Run, moving: Tensor) -> dict[str, Tensor]:
    """Return the arrays that probes need between two steps: for `drift`, the statistics of the last evaluation."""
    return {"drift_moving": moving.clone()} if "drift" in run.probes else {}


def _pick(pack: Pack, due: dict[str, Probe]) -> dict[str, Tensor]:
    """Return what each probe selects from the layers' outputs, (runs, rows, values), in one pass over each part."""
    picked: dict[str, list[Tensor]] = defaultdict(list)
    for part in sorted({probe.part for probe in due.values() if probe.part}):

        def watch(trace: list[Tensor], part: str = part) -> None:
            for name, probe in due.items():
                if probe.part == part and probe.pick:
                    picked[name].append(probe.pick(pack.network, trace))

        walk(pack, part, watch)
    return {name: torch.cat(chunks, 1).cpu() for name, chunks in picked.items()}


def _finite(value: float) -> float | None:
    """Return a number to record: of zeros the positive one, for which of two a minimum returns is not defined."""
    return value + 0.0 if math.isfinite(value) else None
