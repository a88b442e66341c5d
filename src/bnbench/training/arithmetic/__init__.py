"""What is compiled at the first start: the loops of a training step, and whole steps and passes of dense nets.

`kernels` compiles the C files here and holds the loops against torch's operations. `calls` replays compiled calls of
steps and passes; a `recorder` notes them layer by layer, as the table in `recorded` has them, with `products` in the
library's order of sums; a `tape` is a training step so noted, and `passes` are evaluations. Every number is torch's.
"""
