"""Single instructions as kernels of their own: the same code object executed here and run on an MI355X, their results compared."""
