"""Operations whose rounding IEEE 754 leaves open: sums, products and functions, with the bits of torch's operations.

`torch_loops` is the reference, in torch operations. `kernels` compiles the C files at the first start (`build`), checks
the compiled loops against the reference and chooses between them. `calls` records and replays compiled calls, of which
`products` are matrix products. On a GPU: `gpu` (graphs and streams), `triton_norms`, `convolutions`.
"""
