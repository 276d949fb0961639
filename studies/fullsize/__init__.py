"""Serving GPT-OSS-120B's full shapes with random weights, where no checkpoint and no network is: speed and logits, never accuracy.

    python -m studies.fullsize.model DIR --layers 36           the model's folder: configuration and tokenizer
    python -m studies.fullsize.run --model DIR --sequence A,B,B,A ... servers one after another, rows as JSON lines
    python -m studies.fullsize.logits --model DIR --moe ours   logits of prefill and decode steps, into a file
    python -m studies.fullsize.compiling --jobs 16             the MoE kernel compiled for every step's size, before a first start
    python -m studies.fullsize.pack OUT                        vLLM's CUDA wheel and what it needs, to carry to a machine without a network
    python -m studies.fullsize.table ROWS.jsonl                ratios with intervals and verdicts, as Markdown

The weights come from the override `random_mxfp4`. docs/serving-h200.md holds what was measured.
"""
