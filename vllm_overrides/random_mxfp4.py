"""The override `random_mxfp4`: ``--load-format random_mxfp4`` fills a model with random weights at a realistic scale.

For measuring speed without a checkpoint. vLLM's own ``dummy`` leaves FP4 bytes at zero and gives every layer the same values, so that 16
tokens reach 4 or 5 experts of 128 and a MoE step reads a tenth of what it reads in service. Here each parameter has its own
seed, made from its name: 16 tokens reach about 51 experts, and two servers with the same parameters hold the same weights.

Remove when: vLLM's dummy weights route like a model's.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_overrides.errors import OverrideError
from vllm_overrides.registry import Change

FORMAT = "random_mxfp4"
TARGET = f"vllm.model_executor.model_loader's {FORMAT!r}"
SCALES = (119, 122)  # e8m0: 2^-8 to 2^-6, so that a row of H = 2880 codes has about unit gain


def override(environ: Mapping[str, str]) -> RandomMxfp4:
    del environ  # it has no settings
    return RandomMxfp4()


@dataclass(frozen=True)
class RandomMxfp4:
    """Adds the load format."""

    name: str = "random_mxfp4"

    def targets(self) -> Sequence[str]:
        held = registered()
        if held is not None and held.__module__ != __name__:
            raise OverrideError(f"random_mxfp4 and {held.__module__}.{held.__qualname__} both make the load format {FORMAT}",
                                "take random_mxfp4 out of TUNEFORK_OVERRIDES")
        return (TARGET,)

    def apply(self) -> Sequence[Change]:
        if registered() is not None:
            return ()
        from vllm.model_executor.model_loader import register_model_loader

        loader = loader_class()
        register_model_loader(FORMAT)(loader)
        return (Change(TARGET, "nothing", loader.__qualname__),)


def registered() -> type | None:
    """The loader that vLLM has under this name."""
    from vllm.model_executor import model_loader

    found: type | None = model_loader._LOAD_FORMAT_TO_MODEL_LOADER.get(FORMAT)
    return found


def loader_class() -> type:
    """The loader: vLLM's for dummy weights, with other values."""
    from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

    class RandomMxfp4Loader(DummyModelLoader):  # type: ignore[misc]
        def load_weights(self, model: Any, model_config: Any) -> None:
            for name, parameter in model.named_parameters():
                fill(name, parameter.data)

    RandomMxfp4Loader.__module__, RandomMxfp4Loader.__qualname__ = __name__, "RandomMxfp4Loader"
    return RandomMxfp4Loader


def fill(name: str, data: Any) -> None:
    """Random values in place. name: the parameter's, which is the seed and tells codes, scales, norms, biases and matrices apart."""
    import torch

    generator = torch.Generator(device=data.device)
    generator.manual_seed(zlib.crc32(name.encode()))
    last = name.rsplit(".", 1)[-1]
    if data.dtype == torch.uint8:
        low, high = SCALES if "scale" in last else (0, 255)
        data.random_(low, high + 1, generator=generator)
    elif "norm" in name:
        data.fill_(1.0)
    elif "bias" in last or "sinks" in name:
        data.normal_(0.0, 0.02, generator=generator)
    elif "embed" in name:
        data.normal_(0.0, 1.0, generator=generator)
    else:
        data.normal_(0.0, data.shape[-1] ** -0.5, generator=generator)
