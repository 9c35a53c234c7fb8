// Placeholder: the kernels follow.
