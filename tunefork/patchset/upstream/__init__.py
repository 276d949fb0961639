"""A patch on its way to its upstream."""
