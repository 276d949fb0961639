"""What everybody stands on: errors, where things are, running programs and leaving none behind, one process at a time."""
