"""The tiny GPT-OSS: a checkpoint, its tokenizer and texts to score it on, made on this machine in under a minute.

``python -m tunefork.bench.server.tiny`` runs where torch and transformers are (the developed environment); the rest of Tunefork
calls it through ``make`` and never imports torch.
"""
