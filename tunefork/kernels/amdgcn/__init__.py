"""What can be known of a kernel's gfx950 machine code without a GPU: compile it, count it, model it, execute it, gate on it.

The executor is instruction-level functional verification. It has not been validated on an MI355X, and nothing here says how
long a kernel takes.
"""
