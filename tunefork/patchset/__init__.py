"""The series manager: pins -> sources -> series -> apply -> export."""
