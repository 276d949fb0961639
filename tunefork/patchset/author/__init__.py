"""The author's half of the manager: what changes a series in place."""
