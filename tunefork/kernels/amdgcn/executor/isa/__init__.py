"""What the instructions do, by encoding or unit."""
