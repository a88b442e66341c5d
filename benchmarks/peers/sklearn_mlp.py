"""scikit-learn's MLPClassifier: one run of a dense net without norm, which it does not have."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from benchmarks.peers import task

Weights = tuple[NDArray[np.floating], NDArray[np.floating]]


class Net(MLPClassifier):  # type: ignore[misc]
    """With He's Gaussian weights instead of its own uniform ones, which no argument can choose."""

    def _init_coef(self, fan_in: int, fan_out: int, dtype: type) -> Weights:
        weights = self._random_state.normal(0, task.deviation(fan_in), (fan_in, fan_out))
        return weights.astype(dtype, copy=False), np.zeros(fan_out, dtype)


def network(run: task.Run) -> Net:
    """The run's network; what a run has no setting for is off."""
    return Net(
        tuple(units for _, units in run["layers"][:-1]),
        activation={"relu": "relu", "sigmoid": "logistic"}[run["activation"]],
        solver=run["optimizer"],
        learning_rate_init=run["learning_rate"],
        momentum=run["momentum"],
        nesterovs_momentum=False,
        beta_1=run["beta1"],
        beta_2=run["beta2"],
        epsilon=run["adam_epsilon"],
        alpha=0,
        batch_size=run["batch_size"],
        random_state=run["seed"],
    )


def evaluate(net: Net, x: NDArray[np.float32], y: NDArray[np.int64], name: str) -> task.Measured:
    """Mean loss and accuracy on a part."""
    chances = net.predict_proba(x)
    correct = float((chances.argmax(1) == y).mean())
    return {f"{name}_loss": float(log_loss(y, chances)), f"{name}_accuracy": correct}


def train(run: task.Run) -> dict[str, Any]:
    """Train one run; its history and results. An epoch is a call; each goes on from the one before."""
    parts = {name: task.part(run, name) for name in ("valid", *task.FINAL)}
    (x, y), net, history = parts["train"], network(run), []
    classes, whole = np.unique(y), math.floor(len(x) / run["batch_size"]) * run["batch_size"]
    for epoch in range(run["epochs"]):
        net.partial_fit(x[:whole], y[:whole], classes=classes)
        measured = {"epoch": epoch + 1, "train_loss": float(net.loss_)}
        history.append(measured | evaluate(net, *parts["valid"], "valid"))
    result: dict[str, Any] = {"history": history}
    for name in task.FINAL:
        result |= evaluate(net, *parts[name], name)
    return result


if __name__ == "__main__":
    task.each(train)
