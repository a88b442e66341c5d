"""No code between the networks and the tables calls a function by name whose last bits a library may choose."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.little import ROOT

PACKAGE = ROOT / "src" / "bnbench"
# all that computes a number of a result but the networks, their engine and the GPU's operations
FILES = sorted(
    path
    for pattern in ("training/*.py", "training/pack/*.py", "training/probes/*.py", "tables/*.py", "store/*.py")
    for path in PACKAGE.glob(pattern)
)
LIBRARIES = {"math", "np", "numpy", "torch", "stats", "statistics", "special"}
DEFINED = {("exact", "mean"), ("math", "sqrt"), ("np", "sqrt")}
ELEMENTARY = "acos asin atan atan2 cbrt cos cosh exp exp2 expm1 hypot log log10 log1p log2 pow power sin sinh tan tanh"
SUMS = "average bmm convolve cov cumprod cumsum dot einsum inner linalg logsumexp matmul mean norm prod std trace var"
# as methods of arrays; sums and products of whole numbers are exact
METHODS = "cumsum dot exp matmul mean pow sem sigmoid softmax sqrt std tanh var"


def _open(tree: ast.AST) -> Iterator[str]:
    """Yield the functions and products in a syntax tree whose rounding is left open."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            yield "@"
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            names = f"{ELEMENTARY} {SUMS}" if owner in LIBRARIES else METHODS
            if node.attr in names.split() and (owner, node.attr) not in DEFINED:
                yield f"{owner}.{node.attr}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_results_are_computed_without_functions_of_open_rounding(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name == "loss.py":  # `torchs` is for a GPU, and for a machine without the compiled operations
        tree.body = [node for node in tree.body if getattr(node, "name", "") != "torchs"]
    assert [*_open(tree)] == []


def test_such_a_function_is_found() -> None:
    lines = ["a @ b", "math.log(2)", "x.double().mean()", "np.linalg.norm(x)", "x.std()"]
    found = [name for line in lines for name in _open(ast.parse(line))]
    assert found == ["@", "math.log", ".mean", "np.linalg", "x.std"]
    assert [*_open(ast.parse("exact.mean(y) + math.sqrt(2)"))] == []
