"""How tensors are computed: number formats, memory, CUDA graphs, kernels for a CPU."""
