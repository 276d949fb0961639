"""Measurement: kernel microbenchmarks, serving, and the A/B of patches."""
