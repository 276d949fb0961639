"""The MXFP4 format: e2m1 values, two to a byte, with one e8m0 scale per 32; its reference and its weight layouts."""

from tunefork.kernels.mxfp4.format import GROUP, dequantize, quantize
from tunefork.kernels.mxfp4.layout import FragmentLayout, pack_matrix, unpack_matrix

__all__ = ["GROUP", "FragmentLayout", "dequantize", "pack_matrix", "quantize", "unpack_matrix"]
