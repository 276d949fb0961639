"""A series moved to another pin of its upstream."""
