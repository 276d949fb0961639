"""Our rules and layouts beside the libraries that they are named after, byte by byte: over a million values per rule. Figures: docs/mxfp4.md.

The libraries are the extra `conformance`, pinned; here a library of another version, or none, is a skip that says so.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.kernels.mxfp4 import convert, dequantize, quantize
from tunefork.kernels.mxfp4.format import exponent_value, from_nibbles
from tunefork.kernels.mxfp4.interchange import swizzle_scales

Pair = tuple[torch.Tensor, torch.Tensor]
LARGEST = torch.finfo(torch.float32).max


@functools.cache
def pins() -> dict[str, str]:
    extra = tomllib.loads((Layout.here().root / "pyproject.toml").read_text())["project"]["optional-dependencies"]["conformance"]
    return dict(line.split("==") for line in extra)


def need(*packages: str) -> None:
    for name in packages:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if found != pins()[name] and found.partition("+")[0] != pins()[name]:
            pytest.skip(f"NOT TESTED: {name} {pins()[name]} is needed, here is {found} (`pip install -e .[conformance]` in an environment of its own)")


@functools.cache
def blocks() -> torch.Tensor:
    """``[blocks, 32]`` float32, over 10**6 values: every magnitude, weights, every tie, and the neighbours of every amax where a rule turns."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(12000, 32, generator=generator).double() * torch.exp2(torch.randint(-149, 128, (12000, 1), generator=generator).double())
    weights = 0.02 * torch.randn(12000, 32, generator=generator)
    ties = torch.randint(-64, 65, (8000, 32), generator=generator) / 8 * torch.exp2(torch.randint(-130, 120, (8000, 1), generator=generator).float())
    turns = torch.tensor([1.0, 1.25, 1.5, 1.75, 2 - 2**-23, 1 + 2**-23, 1.5 + 2**-23, 1.5 - 2**-23, 1.75 - 2**-23, 1.75 + 2**-23], dtype=torch.float64)
    exact = (turns * torch.exp2(torch.arange(-149, 128).double())[:, None]).flatten().float()
    edges = torch.cat((exact.nextafter(torch.tensor(0.0)), exact, exact.nextafter(torch.tensor(LARGEST))))
    beside = torch.zeros(len(edges), 32)
    beside[:, 3], beside[:, 5], beside[:, 7], beside[:, 9], beside[:, 10] = edges, -edges / 3, -0.0, edges / 12, -edges / 24
    zeros = torch.tensor([0.0, -0.0])[:, None].expand(2, 32)
    return torch.cat((spread.clamp(-LARGEST, LARGEST).float(), weights, ties, beside, zeros)).contiguous()


@functools.cache
def narrow_blocks() -> torch.Tensor:
    """As much of `blocks` as does not overflow in the libraries whose rules refuse that."""
    return blocks()[blocks().abs().amax(-1) < 1.75 * 2.0**127]


def torchao(mode: str) -> Callable[[torch.Tensor], Pair]:
    def run(dense: torch.Tensor) -> Pair:
        need("torchao", "torch")
        from torchao.prototype.mx_formats.mx_tensor import ScaleCalculationMode, to_mx

        scales, values = to_mx(dense, torch.float4_e2m1fn_x2, 32, ScaleCalculationMode[mode])
        return values.view(torch.uint8), scales.view(torch.uint8)

    return run


def compressed_scheme() -> Any:
    need("compressed-tensors", "torch")
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    args = QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="group", group_size=32, scale_dtype=torch.uint8, zp_dtype=torch.uint8)
    return QuantizationScheme(targets=["Linear"], weights=args)


def compressed_tensors(dense: torch.Tensor) -> Pair:
    scheme = compressed_scheme()
    from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
    from compressed_tensors.quantization.utils.helpers import calculate_qparams

    scale, _ = calculate_qparams(dense.amin(-1, keepdim=True), dense.amax(-1, keepdim=True), scheme.weights)
    made = MXFP4PackedCompressor.compress({"weight": dense.clone(), "weight_scale": scale}, scheme)
    return made["weight_packed"], made["weight_scale"]


def gguf(dense: torch.Tensor) -> Pair:
    need("gguf")
    import numpy as np
    from gguf.quants import MXFP4

    with np.errstate(all="ignore"):
        raw = MXFP4.quantize(dense.numpy())
    values, scales = convert((torch.from_numpy(raw.copy()),), "gguf", "plain")
    return values, scales


def quark(mode: str) -> Callable[[torch.Tensor], Pair]:
    def run(dense: torch.Tensor) -> Pair:
        need("amd-quark", "torch")
        from quark.torch.kernel.mx.triton import DequantScaleRoundingMode, downcast_to_mxfp_torch

        values, scales = downcast_to_mxfp_torch(dense, torch.uint8, axis=1, DEQUANT_SCALE_ROUNDING_MODE=DequantScaleRoundingMode[mode])[:2]
        return values, scales

    return run


LIBRARIES: dict[str, Callable[[torch.Tensor], Pair]] = {
    "torchao-floor": torchao("FLOOR"), "torchao-even": torchao("EVEN"), "torchao-ceil": torchao("CEIL"), "torchao-rceil": torchao("RCEIL"),
    "compressed-tensors": compressed_tensors, "gguf": gguf,
    "quark-up": quark("ROUND_UP"), "quark-down": quark("ROUND_DOWN"), "quark-even": quark("EVEN"),
}  # fmt: skip
REFUSING = ("compressed-tensors", "gguf", "quark-even")


def differing(one: Pair, other: Pair) -> torch.Tensor:
    return (one[0] != other[0]).any(-1) | (one[1].flatten() != other[1].flatten())


@pytest.mark.slow
@pytest.mark.parametrize("rule", LIBRARIES)
def test_byte_equal(rule: str) -> None:
    dense = narrow_blocks() if rule in REFUSING else blocks()
    assert dense.numel() > 10**6
    wrong = differing(quantize(dense, rule), LIBRARIES[rule](dense))
    assert not wrong.any(), f"{int(wrong.sum())} of {len(dense)} blocks, the first of amax {dense[wrong][0].abs().max().item().hex()}"


@pytest.mark.parametrize("rule", LIBRARIES)
def test_the_comparison_sees_another_rule(rule: str) -> None:
    """A library's bytes are no other family's: every other rule of ours differs somewhere, but for the pairs whose only difference is the name."""
    made = LIBRARIES[rule](narrow_blocks())
    for other in LIBRARIES:
        assert bool(differing(quantize(narrow_blocks(), other), made).any()) == (other != rule), other


@pytest.mark.parametrize("rule", REFUSING)
def test_where_our_rule_refuses_the_library_is_wrong(rule: str) -> None:
    """The largest float32: ours refuses, and what the library makes is not what the block was."""
    dense = torch.zeros(1, 32)
    dense[0, 0] = LARGEST
    with pytest.raises(BadInput, match="overflows"):
        quantize(dense, rule)
    made, right = LIBRARIES[rule](dense), quantize(dense, "ocp-even")
    assert not torch.equal(made[1].flatten(), right[1].flatten()) or not torch.equal(made[0], right[0])


def every_code() -> Pair:
    """One block per scale byte: each code twice."""
    return from_nibbles(torch.arange(16, dtype=torch.uint8).repeat(256, 2)), torch.arange(256, dtype=torch.uint8)[:, None]


def read_torchao(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    need("torchao", "torch")
    from torchao.prototype.mx_formats.mx_tensor import to_dtype

    return to_dtype(values, scales.view(torch.float8_e8m0fnu), torch.float4_e2m1fn_x2, 32, torch.float32)


def read_gguf(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    need("gguf")
    import numpy as np
    from gguf.quants import MXFP4

    (raw,) = convert((values, scales), "plain", "gguf")
    with np.errstate(all="ignore"):
        return torch.from_numpy(MXFP4.dequantize(raw.numpy()))


def read_compressed_tensors(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    scheme = compressed_scheme()
    from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor

    return MXFP4PackedCompressor.decompress({"weight_packed": values, "weight_scale": scales}, scheme)["weight"]


def read_transformers(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    need("transformers", "torch")
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    packed, scale = convert((values, scales), "plain", "openai")
    return convert_moe_packed_tensors(packed[None], scale[None], dtype=torch.float32)[0].T


def read_quark(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    need("amd-quark", "torch")
    from quark.torch.kernel.mx.triton import upcast_from_mxfp_torch

    return upcast_from_mxfp_torch(values, scales, torch.bfloat16, axis=1)


READERS = {  # library: (its reader, its precision, the scale bytes that it reads otherwise than OCP)
    "torchao": (read_torchao, torch.float32, []),
    "gguf": (read_gguf, torch.float32, [255]),
    "compressed-tensors": (read_compressed_tensors, torch.bfloat16, [255]),
    "transformers": (read_transformers, torch.float32, [255]),
    "amd-quark": (read_quark, torch.bfloat16, [0, 255]),
}


@pytest.mark.parametrize("library", READERS)
def test_every_code_at_every_scale_byte_as_the_library_reads_it(library: str) -> None:
    """65,536 pairs less the doubles; the bytes that it reads otherwise are exactly those listed. The sign of zero does not count (gguf has none)."""
    read, dtype, otherwise = READERS[library]
    got, want = read(*every_code()).float().reshape(256, 32), dequantize(*every_code()).to(dtype).float()
    same = (got == want) | (got.isnan() & want.isnan())
    assert (~same).any(-1).nonzero().flatten().tolist() == otherwise


def test_scale_bytes_as_numbers() -> None:
    """Every e8m0 byte in torch, ml_dtypes and onnx."""
    need("ml-dtypes", "onnx", "torch")
    import ml_dtypes
    import numpy as np
    from onnx import TensorProto, numpy_helper

    ours = exponent_value(torch.arange(256, dtype=torch.uint8)).numpy()
    stored = TensorProto(data_type=TensorProto.FLOAT8E8M0, dims=[256], raw_data=bytes(range(256)))
    theirs = (
        np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float32), numpy_helper.to_array(stored).astype(np.float32),
        torch.arange(256, dtype=torch.uint8).view(torch.float8_e8m0fnu).float().numpy(),
    )
    for one in theirs:
        assert np.array_equal(one, ours, equal_nan=True)


def test_elements_as_numbers_and_from_numbers() -> None:
    """e2m1 in ml_dtypes and onnx: the 16 values, and the nearest of them with ties to even."""
    need("ml-dtypes", "onnx")
    import ml_dtypes
    import numpy as np
    from onnx import TensorProto, numpy_helper

    packed = from_nibbles(torch.arange(16, dtype=torch.uint8))
    values = dequantize(torch.cat((packed, packed)), torch.tensor([127], dtype=torch.uint8))[:16]
    stored = numpy_helper.to_array(TensorProto(data_type=TensorProto.FLOAT4E2M1, dims=[16], raw_data=packed.numpy().tobytes())).astype(np.float32)
    assert np.array_equal(stored, values.numpy()) and np.array_equal(np.signbit(stored), np.signbit(values.numpy()))
    dense = torch.cat((2 * torch.randn(40000, 32, generator=torch.Generator().manual_seed(1)), torch.randint(-63, 64, (4000, 32)) / 8))
    dense = dense[(dense.abs().amax(-1) >= 4.0) & (dense.abs().amax(-1) < 8.0)]  # scale 1 by the floor rule
    codes = torch.from_numpy(dense.numpy().astype(ml_dtypes.float4_e2m1fn).view(np.uint8).copy())
    assert dense.numel() > 10**6 and torch.equal(from_nibbles(codes), quantize(dense, "ocp-floor")[0])


def test_swizzled_scales_are_torchaos() -> None:
    need("torchao", "torch")
    from torchao.prototype.mx_formats.utils import to_blocked

    scales = torch.randint(0, 256, (300, 90), dtype=torch.uint8)
    assert torch.equal(to_blocked(scales).flatten(), swizzle_scales(scales))


def test_the_table_in_the_docs_is_this_one() -> None:
    """docs/mxfp4.md says for every rule how many values were compared: the number here."""
    text = Path(Layout.here().root / "docs/mxfp4.md").read_text()
    for rule in LIBRARIES:
        dense = narrow_blocks() if rule in REFUSING else blocks()
        assert re.search(rf"^\| `{rule}` \|.*\b{dense.numel():,}\b", text, re.MULTILINE), f"{rule}: {dense.numel():,}"
