"""Training a pack: as alone, bit for bit; as a plain loop over torch.nn; diverging runs and retained weights."""

from typing import Any

import pytest
import torch

from bnbench.data import augment, random_streams
from bnbench.params.run_schema import Run
from bnbench.training.engine.choose import choose
from bnbench.training.engine.compiled_steps import StepProgram
from bnbench.training.evaluate import evaluate
from bnbench.training.pack.pack import Outcome, Pack
from bnbench.training.train import start, train
from tests.data.test_augment import attached, definition
from tests.support import reference
from tests.support.little import digits, run, trained

RAMPS = {"renorm_rmax_ramp": [0.5, 1], "renorm_dmax_ramp": [0.25, 1.5]}
SHAPES: list[dict[str, Any]] = [
    {"model": "64-33-7-10", "norm": "none", "activation": "relu", "optimizer": "sgd", "batch_size": 7},
    {"model": "64-33-7-10", "norm": "batch", "activation": "sigmoid", "optimizer": "adam", "batch_size": 2},
    {"model": "64-100-10", "norm": "batch", "order": "post", "activation": "prelu", "batch_size": 60},
    {"model": "3C3-P2-5C3-13D-10D", "norm": "batch", "activation": "tanh", "optimizer": "adam", "batch_size": 33},
    {"model": "8C5-P2-16C3-10D", "norm": "batch", "order": "post", "activation": "leaky_relu", "batch_size": 64},
    {"model": "8C3-P2-16C3-10D", "norm": "none", "activation": "sigmoid", "batch_size": 5, "loss": "sum"},
]
SHAPES += [  # each norm with odd sizes
    {"model": "64-33-7-10", "norm": "center", "batch_size": 7, "norm_gamma": 2.0},
    {"model": "5C3-P2-7C3-13D-10D", "norm": "center", "order": "post", "batch_size": 33, "population": "last_epoch"},
    {"model": "64-33-7-10", "norm": "renorm", "batch_size": 7, "population": "last_epoch", **RAMPS},
    {"model": "5C3-P2-7C3-13D-10D", "norm": "renorm", "order": "post", "batch_size": 33, **RAMPS},
    {"model": "64-33-7-10", "norm": "ghost", "batch_size": 21, "norm_parts": 7, "population": "batch"},
    {"model": "5C3-P2-7C3-13D-10D", "norm": "ghost", "batch_size": 33, "norm_parts": 11},
    {"model": "64-33-9-10", "norm": "group", "batch_size": 7, "norm_groups": 3, "norm_beta": 0.0},
    {"model": "5C3-P2-7C3-13D-10D", "norm": "group", "batch_size": 33, "norm_groups": 1},
    {
        "model": "6C3-P2-9C3-13D-10D",
        "norm": "group",
        "batch_size": 1,
        "train_images": 20,
        "norm_groups": 3,
        "norm_dense": False,
    },
    {"model": "64-33-7-10", "norm": "layer", "batch_size": 7, "optimizer": "adam"},
    {"model": "5C3-P2-7C3-13D-10D", "norm": "layer", "order": "post", "batch_size": 1, "train_images": 20},
    {"model": "5C3-P2-7C3-13D-10D", "norm": "local_response", "batch_size": 33, "lrn_alpha": 0.3},
    {"model": "5C3-LRN-P2-7C3-LRN-13D-10D", "norm": "batch", "batch_size": 9, "population": "last_epoch"},
    {"model": "64-33-7-10", "norm": "renorm", "batch_size": 7, "backend": "numpy", **RAMPS},
]
SHAPES += [  # products large enough for bf16, where the processor has it
    {"model": "64-256-100-10", "norm": "batch", "batch_size": 60, "precision": "fast"},
    {"model": "16C3-16C3-P2-10D", "norm": "none", "batch_size": 32, "precision": "fast", "epochs": 1},
]
EXTRAS = {"dropout": 0.3, "weight_decay": 1e-4, "keep_weights": "best", "evaluate_every": 5, "epochs": 2}
PLATEAU = {"kind": "plateau", "factor": 0.5, "window": 2}


def _grid(settings: dict[str, Any]) -> list[Run]:
    rates = (0.01, 0.3, 50.0)
    extras = {**EXTRAS, "schedule": PLATEAU, "train_images": 150, "diverged_above": 20.0}
    return [run(**{**extras, **settings, "seed": s, "learning_rate": r}) for s in range(3) for r in rates]


def _bits(outcome: Outcome) -> str:
    return repr((outcome.result, outcome.history))


@pytest.mark.parametrize("settings", SHAPES, ids=lambda settings: f"{settings['model']} {settings['norm']}")
def test_a_run_is_the_same_in_a_pack_as_alone_bit_for_bit(settings: dict[str, Any]) -> None:
    runs = _grid(settings)
    packed = trained(runs)
    pairs = trained(runs[3:5])
    assert [_bits(outcome) for outcome in packed] == [_bits(trained([one])[0]) for one in runs]
    assert [_bits(outcome) for outcome in packed[3:5]] == [_bits(outcome) for outcome in pairs]


def test_a_diverging_run_is_recorded_with_its_step_and_leaves_the_others_as_they_are() -> None:
    calm = run(model="64-32-10", norm="none", epochs=2, learning_rate=0.05)
    wild = run(model="64-32-10", norm="none", epochs=2, learning_rate=1e6)
    outcomes = trained([calm, wild, calm.model_copy(update={"seed": 1})])
    assert [outcome.result["status"] for outcome in outcomes] == ["ok", "diverged", "ok"]
    assert _bits(outcomes[0]) == _bits(trained([calm])[0])
    result = outcomes[1].result
    assert 1 <= result["diverged_step"] <= 18
    assert result["last_finite_loss"] is not None
    assert result["test_accuracy"] is None
    assert outcomes[1].history == []


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("model", ["64-20-10", "4C3-P2-10D"])
def test_training_follows_a_plain_loop_over_torch_nn(optimizer: str, model: str) -> None:
    rate = {"sgd": 0.1, "adam": 0.01}[optimizer]
    settings = run(model=model, optimizer=optimizer, learning_rate=rate, epochs=1, train_images=320, batch_size=32)
    pack = start(["0" * 16], [settings], digits())
    net = reference.modules(settings, (1, 8, 8)).train()
    pack.bind()
    reference.load(net, pack.network, 0)
    made: dict[str, Any] = {"sgd": lambda p: torch.optim.SGD(p, rate, 0.9), "adam": lambda p: torch.optim.Adam(p, rate)}
    update = made[optimizer](net.parameters())
    order = random_streams.order(settings.seed, 0, 320)
    losses = []
    for step in range(10):
        rows = order[step * 32 : (step + 1) * 32]
        images = torch.from_numpy(digits().train.images)[rows].double() / 255
        loss = torch.nn.functional.cross_entropy(net(images), torch.from_numpy(digits().train.labels)[rows])
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.item())
    outcomes: list[Outcome] = []
    train(pack, lambda _pack: None, outcomes.append)
    assert outcomes[0].history[0]["train_loss"] == pytest.approx(sum(losses) / 10, rel=1e-4)
    net.eval()
    logits = net(torch.from_numpy(digits().test.images).double() / 255)
    labels = torch.from_numpy(digits().test.labels)
    accuracy = float((logits.argmax(1) == labels).double().mean())
    assert outcomes[0].result["test_accuracy"] == pytest.approx(accuracy, abs=1.5 / 360)
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert outcomes[0].result["test_loss"] == pytest.approx(expected, rel=1e-3)


def test_weight_decay_pulls_at_weights_and_not_at_norms_or_biases() -> None:
    settings = run(model="64-20-10", weight_decay=0.5, learning_rate=1e-3, momentum=0, epochs=1, train_images=64)
    without = settings.model_copy(update={"weight_decay": 0.0})
    ends = []
    for one in (settings, without):
        pack = start(["0" * 16], [one], digits())
        first = pack.arrays["values"].clone()
        train(pack, lambda _pack: None, lambda _outcome: None)
        ends.append(pack.arrays["values"])
    decayed = pack.network.decayed()[None]
    torch.testing.assert_close(ends[0], ends[1] - 1e-3 * 0.5 * first * decayed, rtol=1e-5, atol=1e-6)


def test_the_weights_of_the_best_validation_epoch_are_tested() -> None:
    settings = run(model="64-32-10", epochs=6, learning_rate=2.0, batch_size=32)
    outcome = trained([settings.model_copy(update={"keep_weights": "best"})])[0]
    accuracies = [row["valid_accuracy"] or 0 for row in outcome.history]
    assert outcome.result["valid_accuracy"] == max(accuracies)
    assert outcome.result["best_epoch"] == accuracies.index(max(accuracies)) + 1
    assert outcome.result["best_epoch"] < 6


def test_history_has_a_row_per_interval_and_one_for_the_rest() -> None:
    outcome = trained([run(model="64-10", epochs=2, batch_size=100, evaluate_every=4, evaluate_test=True)])[0]
    assert [row["step"] for row in outcome.history] == [4, 8, 12, 16, 20, 22]
    assert outcome.history[-1]["epoch"] == 2
    assert outcome.history[-1]["test_accuracy"] == outcome.result["test_accuracy"]


def test_images_that_fill_no_batch_are_left_out() -> None:
    outcome = trained([run(model="64-10", epochs=1, batch_size=1000)])[0]
    assert outcome.result["steps"] == 1


def test_shuffled_labels_give_chance_and_true_ones_do_not() -> None:
    data = digits()
    labels = data.train.labels[torch.randperm(1197, generator=torch.Generator().manual_seed(0)).numpy()]
    shuffled = type(data)(**{**vars(data), "train": type(data.train)(data.train.images, labels)})
    settings = [run(model="64-32-10", epochs=3, seed=seed) for seed in range(3)]
    mean = sum(outcome.result["test_accuracy"] for outcome in trained(settings, shuffled)) / 3
    assert 0.04 < mean < 0.2
    assert all(outcome.result["test_accuracy"] > 0.93 for outcome in trained(settings))


def test_a_published_step_schedule_sets_the_rate_from_its_epochs_on() -> None:
    schedule = {"kind": "step", "from_epoch": [2, 4], "factor": [0.5, 0.1]}
    outcome = trained([run(model="64-10", epochs=5, batch_size=500, learning_rate=0.2, schedule=schedule)])[0]
    assert [row["learning_rate"] for row in outcome.history] == pytest.approx([0.2, 0.1, 0.1, 0.02, 0.02])


@pytest.mark.parametrize("copies", ["online", 3])
@pytest.mark.parametrize("model", ["64-33-10", "3C3-P2-10D"])
def test_with_augmentation_too_a_run_is_the_same_in_a_pack_as_alone(model: str, copies: int | str) -> None:
    data = attached(digits(), definition(copies=copies))
    settings = {"model": model, "batch_size": 7, "epochs": 2, "train_images": 100, "evaluate_every": 5}
    runs = [run(**settings, seed=seed, learning_rate=rate) for seed in range(3) for rate in (0.01, 0.1)]
    packed = trained(runs, data)
    assert [_bits(outcome) for outcome in packed] == [_bits(trained([one], data)[0]) for one in runs]
    assert packed[0].result["steps"] == 2 * (100 * (3 if copies == 3 else 1) // 7)
    plain = trained(runs[:1])[0]
    assert packed[0].history[0]["train_loss"] != plain.history[0]["train_loss"]


def test_a_single_image_a_step_is_moved_in_a_pack_as_alone() -> None:
    data = attached(digits(), definition(copies="online"))
    runs = [run(model="64-16-10", norm="none", batch_size=1, epochs=1, train_images=30, seed=seed) for seed in range(5)]
    assert [_bits(outcome) for outcome in trained(runs, data)] == [_bits(trained([one], data)[0]) for one in runs]


def test_the_online_form_trains_on_each_image_moved_as_drawn_for_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    what = definition(copies="online")
    settings = run(model="64-10", norm="none", epochs=2, train_images=96, batch_size=32, learning_rate=1e-30)
    pack = start(["0" * 16], [settings], attached(digits(), what))
    seen: list[torch.Tensor] = []
    feed = StepProgram._feed

    def watched(program: StepProgram, pack: Pack, steps: int) -> None:
        feed(program, pack, steps)
        seen.extend(program.x[0, :steps].clone())

    monkeypatch.setattr(StepProgram, "_feed", watched)
    train(pack, lambda _pack: None, lambda _outcome: None)
    pixels = torch.from_numpy(digits().train.images[:96]).movedim(1, -1).float() / 255
    for epoch in range(2):
        moved = augment.transform(pixels, augment.online(0, what, epoch, (96, 1, 8, 8)))
        expected = moved[random_streams.order(0, epoch, 96)]
        assert torch.equal(torch.cat(seen[3 * epoch : 3 * epoch + 3]), expected)


def test_the_published_test_set_is_measured_beside_the_test_images_taken_out() -> None:
    data = digits()
    both = type(data)(**{**vars(data), "official": data.valid})
    with_it, without = (trained([run(model="64-10", epochs=1, evaluate_test=True)], some)[0] for some in (both, data))
    assert with_it.result["official_accuracy"] == with_it.result["valid_accuracy"]
    assert with_it.history[-1]["official_loss"] == with_it.result["official_loss"]
    assert (without.result["official_accuracy"], without.result["official_loss"]) == (None, None)
    assert "official_loss" not in without.history[-1]
    assert with_it.result["test_accuracy"] == without.result["test_accuracy"]


@pytest.mark.parametrize("kept", ["last", "best"])
def test_what_the_kept_weights_gave_on_the_validation_part_is_what_they_give(kept: str) -> None:
    one = run(model="64-20-10", epochs=4, learning_rate=1.5, keep_weights=kept)
    pack, outcomes = start(["0" * 16], [one], digits()), list[Outcome]()
    train(pack, lambda _pack: None, outcomes.append)
    engine = choose(pack)
    pack.network.bind(*pack.kept)
    again = evaluate(engine, pack, "valid")[0]
    assert {key: outcomes[0].result[key] for key in again} == again
