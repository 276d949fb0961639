"""A vocabulary of 201,088 trained as one of a thousand: the same probabilities. Needs what `develop` installs."""

from __future__ import annotations

import importlib.util

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")
if importlib.util.find_spec("transformers") is None:
    pytest.skip("NOT TESTED: needs vLLM's dependencies (`python3 build.py develop`)", allow_module_level=True)

from tunefork.bench.server.tiny.few import Few  # noqa: E402 - after the check that it can be imported

pytestmark = pytest.mark.slow


def small_model(size: int):
    import transformers  # ten seconds of CPU, which `--quick` would spend in each worker to leave these tests out

    torch.manual_seed(0)
    return transformers.GptOssForCausalLM(transformers.GptOssConfig(
        vocab_size=size, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        num_local_experts=2, num_experts_per_tok=1, pad_token_id=None, attn_implementation="eager")).eval()


def test_widened_it_gives_the_probabilities_of_the_few():
    stream = torch.tensor([7, 900, 33, 7, 4999])
    few = Few(stream, 5000)
    assert few.tokens.tolist() == [7, 33, 900, 4999]
    model = small_model(few.size)
    few.begin(model)
    with torch.no_grad():
        narrow = torch.log_softmax(few.scores(model(input_ids=few.numbered(stream)[None]).logits), -1)[0]
        few.widen(model)
        wide = torch.log_softmax(model(input_ids=stream[None]).logits, -1)[0]
    assert wide.shape == (5, 5000)
    torch.testing.assert_close(wide[:, few.tokens], narrow[:, :-1])
    others = torch.ones(5000, dtype=torch.bool)
    others[few.tokens] = False
    torch.testing.assert_close(wide[:, others].logsumexp(-1), narrow[:, -1])


def test_at_the_start_the_others_are_improbable():
    few = Few(torch.arange(900), 201_088)
    model = small_model(few.size)
    few.begin(model)
    with torch.no_grad():
        scores = few.scores(model(input_ids=torch.arange(100)[None]).logits)
    assert torch.softmax(scores, -1)[..., -1].max() < 0.5
