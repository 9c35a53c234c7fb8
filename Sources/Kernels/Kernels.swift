// Placeholder: the choice of the kernel set follows.
@_exported import KernelTypes
