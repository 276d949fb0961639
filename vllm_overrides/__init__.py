"""Out-of-tree vLLM plugin: what needs no patch."""
