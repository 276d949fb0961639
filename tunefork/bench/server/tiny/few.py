"""A large vocabulary trained as a small one: the tokens that occur, and one row that stands for all others.

N rows of the head that are equal add N exp(x) to the sum of the softmax, as one row does whose score is x + log N. So the small model
is the large one exactly, at a two-hundredth of the head's cost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # at run time ten seconds of CPU for a name
    from transformers import GptOssForCausalLM

SHARED = 0.3  # half the length of an embedding as it is drawn
AGAINST = -4.0  # times some 5 in the last norm's output: below the logarithm of 200,000 tokens, 12.2


class Few:
    """The tokens that occur in ``stream`` (N,) int64, of a vocabulary of ``vocabulary``; each is numbered, the others share the last number."""

    def __init__(self, stream: torch.Tensor, vocabulary: int) -> None:
        self.tokens = stream.unique()
        self.vocabulary = vocabulary

    @property
    def size(self) -> int:
        """Rows of the small vocabulary."""
        return len(self.tokens) + 1

    def numbered(self, stream: torch.Tensor) -> torch.Tensor:
        """The numbers of tokens that occur."""
        return torch.searchsorted(self.tokens, stream)

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (..., size) whose softmax is that of the whole vocabulary, its other tokens summed in the last."""
        others = torch.zeros(self.size)
        others[-1] = math.log(self.vocabulary - len(self.tokens))
        return logits + others

    def begin(self, model: GptOssForCausalLM) -> None:
        """Start an untrained model with the other tokens improbable, or the first steps learn nothing else.

        The head has no bias: one direction that every embedding shares stands in for it.
        """
        with torch.no_grad():
            model.get_input_embeddings().weight[:, 0] += SHARED
            last = model.get_output_embeddings().weight[-1]
            last.zero_()
            last[0] = AGAINST

    def widen(self, model: GptOssForCausalLM) -> None:
        """Give a trained model the whole vocabulary. A token that never occurred is read as the mean of those that did."""
        rows = torch.full((self.vocabulary,), self.size - 1)
        rows[self.tokens] = torch.arange(self.size - 1)
        with torch.no_grad():
            read = model.get_input_embeddings().weight.clone()
            read[-1] = read[:-1].mean(0)
            written = model.get_output_embeddings().weight
            model.resize_token_embeddings(self.vocabulary, mean_resizing=False)
            model.get_input_embeddings().weight.copy_(read[rows])
            model.get_output_embeddings().weight.copy_(written[rows])
