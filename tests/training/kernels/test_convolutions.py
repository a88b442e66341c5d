"""The forms of convolution give the same numbers: each against the others' formula and PyTorch's own gradients."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnbench.core.files import read_json
from bnbench.training.kernels import convolutions, gpu
from bnbench.training.kernels.convolutions import FORMS, Form

SHAPES = [((1, 2, 5, 4, 3), 6, 3), ((3, 2, 6, 6, 1), 4, 5), ((2, 1, 3, 3, 8), 2, 1)]  # x_RNHWC, kernels, size


def _given(shape: tuple[int, ...], kernels: int, size: int, kind: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    dice = torch.Generator().manual_seed(0)
    rows = torch.randn(shape[0], 3 + kernels * size**2 * shape[-1], generator=dice, dtype=torch.float64)
    weight = rows[:, 3:].view(shape[0], kernels, size, size, shape[-1])  # with gaps between rows, as bound by a network
    x = torch.randn(shape, generator=dice, dtype=torch.float64)
    return x.to(kind), weight.to(kind), torch.randn(*shape[:4], kernels, generator=dice, dtype=torch.float64).to(kind)


@pytest.mark.parametrize(("shape", "kernels", "size"), SHAPES)
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_each_form_is_torchs_convolution_of_each_run(
    form: Form, shape: tuple[int, ...], kernels: int, size: int
) -> None:
    x, weight, dy = _given(shape, kernels, size, torch.float64)
    expected = x.clone().requires_grad_(), weight.clone().requires_grad_()
    pairs = zip(*expected, strict=True)
    each = [F.conv2d(a.movedim(-1, 1), b.movedim(-1, 1), padding=size // 2).movedim(1, -1) for a, b in pairs]
    torch.stack(each).backward(dy)
    y, kept = form.forward(x, weight)
    torch.testing.assert_close(y, torch.stack(each))
    for wanted in (True, False):
        dweight = torch.full_like(weight, torch.nan)
        dx = form.backward(dy, kept, weight, dweight, wanted)
        torch.testing.assert_close(dweight, expected[1].grad)
        torch.testing.assert_close(dx, expected[0].grad if wanted else dy)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_of_bf16_factors_the_gradients_are_fp32_and_near(form: Form) -> None:
    x, weight, dy = _given((2, 2, 6, 6, 3), 4, 3, torch.float32)
    expected, kept = form.forward(x, weight)
    truth = torch.empty_like(weight)
    slope = form.backward(dy, kept, weight, truth, True)
    x, factor, dy = x.bfloat16(), weight.bfloat16(), dy.bfloat16()
    y, kept = form.forward(x, factor)
    dweight = torch.empty_like(weight)
    dx = form.backward(dy, kept, factor, dweight, True)
    assert dx.dtype == torch.float32
    for a, b in ((y.float(), expected), (dx, slope), (dweight, truth)):
        assert float((a - b).norm() / b.norm()) < 0.01


def test_the_fastest_form_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"looped": 2.0, "grouped": 1.0, "unfolded": torch.inf}
    measured: list[Form] = []

    def milliseconds(form: Form, _x: Tensor, _kernels: Tensor) -> float:
        measured.append(form)
        return times[next(name for name in FORMS if FORMS[name] is form)]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(convolutions, "milliseconds", milliseconds)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "a GPU")
    monkeypatch.setattr(gpu, "memory", lambda _device: 80e9)
    monkeypatch.setattr(convolutions, "CHOSEN", {})
    x, weight, _ = _given(*SHAPES[0], torch.float32)
    assert [convolutions.fastest(x, weight) for _ in range(2)] == ["grouped"] * 2
    assert len(measured) == len(FORMS)
    file = tmp_path / "bnbench" / "convolutions.json"
    assert list(read_json(file).values()) == ["grouped"]
    monkeypatch.setattr(convolutions, "CHOSEN", {})  # in another process
    assert convolutions.fastest(x, weight) == "grouped"
    assert len(measured) == len(FORMS)
    convolutions.fastest(x[:, :1], weight)
    assert len(measured) == 2 * len(FORMS)
    monkeypatch.setattr(convolutions, "CHOSEN", {})
    file.write_text("{")
    assert convolutions.fastest(x, weight) == "grouped"
    assert list(read_json(file).values()) == ["grouped"]


def test_unfolded_inputs_may_not_fill_a_gpus_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, _ = _given((2, 4, 8, 8, 16), 8, 3, torch.bfloat16)  # 2 x 4 x 8 x 8 x 16 x 9 values of 2 bytes
    for size, able in ((64 * 147_456, {"looped", "grouped", "unfolded"}), (64 * 147_455, {"looped", "grouped"})):
        monkeypatch.setattr(gpu, "memory", lambda _device, size=size: size)
        assert set(convolutions._affordable(x, weight)) == able
