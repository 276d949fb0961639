"""What the series manager itself costs, measured beside ``git am`` in the same run."""
