"""Powers for Adam's bias corrections. Python's own are the C library's, which differ between machines."""


def power(base: float, n: int) -> float:
    """Return base^n in float64 for a whole n >= 0 by repeated squaring, the bits of n from the lowest.

    The relative error is at most n 2^-53.
    """
    result = 1.0
    while n:
        if n & 1:
            result *= base
        base *= base
        n >>= 1
    return result
