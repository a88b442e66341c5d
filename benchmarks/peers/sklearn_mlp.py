"""scikit-learn's MLPClassifier: one run of a dense net without norm, as it has no batch norm."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from benchmarks.peers import task

Weights = tuple[NDArray[np.floating], NDArray[np.floating]]


class Net(MLPClassifier):  # type: ignore[misc]
    """MLPClassifier with He's Gaussian initial weights, for which it has no argument."""

    def _init_coef(self, fan_in: int, fan_out: int, dtype: type) -> Weights:
        weights = self._random_state.normal(0, task.he_std(fan_in), (fan_in, fan_out))
        return weights.astype(dtype, copy=False), np.zeros(fan_out, dtype)


def network(run: task.Run) -> Net:
    """Return the run's network; options without a setting of the run are off."""
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
    """Return mean loss and accuracy on a part."""
    probabilities = net.predict_proba(x)
    correct = float((probabilities.argmax(1) == y).mean())
    return {f"{name}_loss": float(log_loss(y, probabilities)), f"{name}_accuracy": correct}


def train(run: task.Run) -> dict[str, Any]:
    """Train one run, with one call per epoch; return its history and results."""
    parts = {name: task.part(run, name) for name in ("valid", *task.FINAL)}
    (x, y), net, history = parts["train"], network(run), []
    classes, complete = np.unique(y), math.floor(len(x) / run["batch_size"]) * run["batch_size"]
    for epoch in range(run["epochs"]):
        net.partial_fit(x[:complete], y[:complete], classes=classes)
        measured = {"epoch": epoch + 1, "train_loss": float(net.loss_)}
        history.append(measured | evaluate(net, *parts["valid"], "valid"))
    result: dict[str, Any] = {"history": history}
    for name in task.FINAL:
        result |= evaluate(net, *parts[name], name)
    return result


if __name__ == "__main__":
    task.each(train)
