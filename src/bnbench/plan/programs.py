"""Networks that train and predict by compiled programs: known from a run's settings, before torch is loaded.

The estimate of a pack's memory depends on it, and so does training: `training.engine.layer_programs` has a program for
each layer whose entry in `params.layers` is `compiled`. Whether this machine has the compiled code is decided there.
"""

from bnbench.params.architecture import Dense, parse
from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.run_schema import Run


def has_program(run: Run) -> bool:
    """Return whether each layer of a run's network has a compiled program.

    That is a dense net of at least two units in each layer. The settings of hidden layers count only where there is
    one.
    """
    layers = parse(run.model).layers
    dense = all(isinstance(layer, Dense) and layer.units > 1 for layer in layers)
    hidden = NORMS[run.norm].compiled and ACTIVATIONS[run.activation].compiled and not run.dropout
    return run.backend == "torch" and dense and (hidden or len(layers) == 1)


def predicts_by_program(run: Run) -> bool:
    """Return whether images pass a run's network outside training by a compiled program, one run of a pack at a time.

    The programs know running statistics alone.
    """
    return has_program(run) and run.population == "moving"
