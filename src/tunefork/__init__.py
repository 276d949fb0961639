"""Tunefork: patch series, kernels and measurements for GPT-OSS-120B (MXFP4) on AMD MI355X with vLLM and AITER.

The rooms of the house are the folders at the top of the repository; links beside this file make them one package.
"""

__version__ = "0.1.0"
