"""The cpu target: vLLM's CPU backend on the compiled operators of a pinned wheel."""
