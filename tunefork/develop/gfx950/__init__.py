"""The gfx950 target: AITER and vLLM built against the machine's own ROCm."""
