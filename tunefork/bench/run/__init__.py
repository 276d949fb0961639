"""One run: gate, then every configuration; batches, resume, scores, summaries."""
