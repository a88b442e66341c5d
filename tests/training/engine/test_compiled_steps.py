"""Compiled training steps: the same calls and the same bytes for a run alone and in a pack."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.run_schema import Run
from bnbench.training.engine.choose import choose
from bnbench.training.engine.compiled_steps import CompiledSteps, StepProgram
from bnbench.training.pack.optimizers import OPTIMIZERS
from bnbench.training.pack.pack import Outcome
from bnbench.training.train import start
from tests.support.little import digits, run, trained

RAMPS = {"renorm_rmax_ramp": [0, 0.5], "renorm_dmax_ramp": [0.2, 1]}
BASE: dict[str, Any] = {"train_images": 70, "epochs": 2, "evaluate_every": 3, "weight_decay": 1e-3, "dropout": 0.2}


def _runs(count: int, **chosen: Any) -> list[Run]:
    return [run(**{**BASE, **RAMPS, **chosen, "seed": i % 3, "learning_rate": 0.01 + i / 50}) for i in range(count)]


def _bits(outcomes: list[Outcome]) -> list[str]:
    return [repr((outcome.result, outcome.history, outcome.probed)) for outcome in outcomes]


def _steps(runs: list[Run]) -> StepProgram:
    pack = start([f"{i:016x}" for i in range(len(runs))], runs, digits())
    engine = choose(pack)
    assert isinstance(engine.steps, CompiledSteps)
    engine.step(pack)
    assert engine.steps.program
    return engine.steps.program


def _calls(program: StepProgram, i: int) -> list[tuple[Any, ...]]:
    """Return a run's calls: operation, sizes, constants, strides of the steps."""
    return [(call.op, list(call.n), list(call.f), list(call.by)) for call in program.calls[i]]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", ["64-33-7-10", "5C3-P2-LRN-7C3-Dropout0.3-13D-10D"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_calls_of_a_run_do_not_depend_on_the_runs_of_its_pack(norm: str, model: str, optimizer: str) -> None:
    chosen = {"model": model, "norm": norm, "optimizer": optimizer, "batch_size": 14, "norm_parts": 2, "norm_groups": 1}
    runs = _runs(9, **chosen)
    together = _steps(runs)
    for i in (0, 4, 8):
        assert _calls(together, i) == _calls(_steps([runs[i]]), 0)


SIZES = st.integers(1, 130)
NETS = st.one_of(
    st.builds(lambda a, b: f"64-{a}-{b}-10", SIZES, SIZES),
    st.builds(
        lambda a, s, p, b: f"{a}C{s}-P{p}-{b}D-10D",
        st.integers(1, 20),
        st.sampled_from([1, 3, 5]),
        st.sampled_from([2, 3]),
        SIZES,
    ),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    model=NETS,
    norm=st.sampled_from(sorted(NORMS)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    batch=st.integers(1, 70),
    order=st.sampled_from(["pre", "post"]),
)
def test_a_run_has_the_same_bytes_alone_and_in_packs_of_2_and_9(batch: int, **chosen: str) -> None:
    needs = 2 if NORMS[chosen["norm"]].scope in ("mini-batch", "part of a mini-batch") else 1
    batch = max(batch, needs)
    if chosen["norm"] == "ghost":
        batch = max(4, batch - batch % 2)
    if chosen["norm"] == "local_response" and "C" not in chosen["model"]:
        return
    evaluated = {"batch_size": batch, "norm_parts": 2, "norm_groups": 1, "population": "moving"}
    runs = _runs(9, **chosen, **evaluated)
    alone = [trained([one])[0] for one in runs[:2]]
    assert _bits(alone) == _bits(trained(runs[:2])) == _bits(trained(runs)[:2])
