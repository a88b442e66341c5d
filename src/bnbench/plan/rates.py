"""Seconds of each operation of training on one core, by instruction set; `python -m benchmarks.cost` measures them.

They were measured on one processor. How much faster or slower this one is, is measured by one matrix product of the
compiled library, in some 20 ms; packs are made with the table alone, so that they are the same on every machine.
"""

import ctypes
import time
from functools import cache
from typing import NamedTuple

from bnbench.arithmetic import build, library

SIZE, REPEATS = 192, 20  # of the product that is timed: its factors fit the second-level cache


class Rates(NamedTuple):
    """Seconds of operations on one core.

    Attributes:
        multiply: of a matrix product per multiplication, its columns counted in whole vectors of 16.
        output: of a matrix product per element of the result, counted alike.
        turn: per element of a factor that is transposed beforehand.
        normalise: per value, with known statistics; in training also the statistics and the backward pass.
        piecewise: per value of an activation without elementary functions (ReLU).
        smooth: per value of an activation with an exponential (sigmoid, tanh).
        pool: per value of the input of a max pooling.
        copy: per value that is copied or elementwise multiplied (borders of images, dropout).
        logit: softmax cross-entropy and its gradient, per logit.
        sgd: an update, per weight.
        adam: an update, per weight.
        gather: per value of a mini-batch gathered from the training images, which lie in main memory.
    """

    multiply: float
    output: float
    turn: float
    normalise: float
    normalise_training: float
    piecewise: float
    piecewise_training: float
    smooth: float
    smooth_training: float
    pool: float
    pool_training: float
    copy: float
    logit: float
    sgd: float
    adam: float
    gather: float


# AMD EPYC with AVX-512, one core, in picoseconds
PICOSECONDS = {
    "avx512": Rates(19, 53, 490, 79, 530, 80, 185, 420, 520, 100, 3900, 110, 7200, 85, 400, 860),
    "avx2": Rates(23, 57, 240, 81, 510, 100, 200, 560, 670, 106, 3700, 110, 8600, 105, 430, 860),
    "plain": Rates(600, 450, 550, 3000, 9000, 1500, 3000, 10000, 13000, 2000, 6000, 200, 60000, 3000, 9000, 800),
}
RATES = {name: Rates(*(1e-12 * value for value in row)) for name, row in PICOSECONDS.items()}
NOMINAL = RATES["avx512"]  # of the machine that packs are sized for


@cache
def here() -> Rates:
    """Return the rates of this processor: those of its instruction set, scaled by the time of one product."""
    rates = RATES[library.instructions()]
    measured = product_seconds()
    slower = measured / (rates.multiply * SIZE**3) if measured else 1.0
    return Rates(*(slower * seconds for seconds in rates))


def product_seconds() -> float | None:
    """Return the seconds of a product of SIZE x SIZE by the compiled library; None where it is not compiled yet.

    The time is that of the processor, so that other work on the machine hardly changes it.
    """
    try:
        path = build.intact(library.instructions())
    except OSError:  # no cache can be read
        path = None
    if path is None:
        return None
    operation = ctypes.CDLL(str(path)).op_product
    sizes = (ctypes.c_long * 8)(0, 0, *[SIZE] * 6)
    arrays = [(ctypes.c_float * length)() for length in (*[SIZE * SIZE] * 3, 64 * (SIZE + 1))]
    pointers = (ctypes.c_void_p * 4)(*map(ctypes.addressof, arrays))
    operation(sizes, (ctypes.c_float * 1)(), pointers)
    started = time.process_time()
    for _ in range(REPEATS):
        operation(sizes, (ctypes.c_float * 1)(), pointers)
    return (time.process_time() - started) / REPEATS
