"""Torch's kernels: products, convolutions and norms on a GPU, and on a CPU where no compiled calls are at hand.

`torch_loops` is the reference of the norms, `triton_norms` the same in Triton, `loops` the choice between them;
`convolutions` chooses a form by measuring; `gpu` has CUDA graphs and streams.
"""
