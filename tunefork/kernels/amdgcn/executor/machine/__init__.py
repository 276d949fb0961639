"""What the instructions act on: registers, memories, outstanding accesses, operands."""
