"""The MXFP4 format: e2m1 values, two to a byte, with one e8m0 scale per 32; rules that make it of floats, other programs' layouts, our weight layouts."""

from tunefork.kernels.mxfp4.format import GROUP, dequantize
from tunefork.kernels.mxfp4.interchange import LAYOUTS, convert, deinterleave, interleave
from tunefork.kernels.mxfp4.layout import FragmentLayout, pack_matrix, unpack_matrix
from tunefork.kernels.mxfp4.rules import RULES, quantize

__all__ = [
    "GROUP", "LAYOUTS", "RULES", "FragmentLayout", "convert", "deinterleave", "dequantize", "interleave", "pack_matrix", "quantize", "unpack_matrix",
]  # fmt: skip
