"""A GPU day: which changes to try, in which order, when to stop, and what it says at its end (docs/gpu-day.md)."""
