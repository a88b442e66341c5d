"""The operations of PyTorch that a computation calls, and those of them whose results IEEE 754 fixes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# they move, convert or compare, work element by element with + - * /, or sum whole numbers
EXACT = {
    *("_local_scalar_dense", "_to_copy", "abs", "add", "add_", "all", "any", "bitwise_or", "clamp", "clone", "copy_"),
    *("detach", "div", "empty", "empty_like", "eq", "full_like", "ge", "index", "isnan", "lift_fresh", "lt", "mul"),
    *("ne", "neg", "new_empty", "permute", "remainder", "repeat", "round", "scalar_tensor", "select", "slice", "sort"),
    *("split", "stack", "sub", "sum of whole numbers", "tril", "unbind", "unsqueeze", "view", "where", "zeros"),
}


def dispatched(compute: Callable[[], object]) -> set[str]:
    """Return the names of the operations that a function calls."""
    names = set()

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, op: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out, name = op(*args, **(kwargs or {})), op.overloadpacket.__name__
            whole = name == "sum" and isinstance(out, Tensor) and not out.is_floating_point()
            names.add("sum of whole numbers" if whole else name)
            return out

    with Watched():
        compute()
    return names
