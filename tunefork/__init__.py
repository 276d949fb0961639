"""Tunefork: patch series, kernels and measurements for GPT-OSS-120B (MXFP4) on AMD MI355X with vLLM and AITER.

The rooms and what may import what: docs/README.md and CONTRIBUTING.md.
"""

__version__ = "0.1.0"
