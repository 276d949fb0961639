"""What Tunefork takes for granted of the pinned upstreams, each fact once: names, paths, keys, defaults. One module per upstream.

Strings and numbers alone: vLLM's processes import this, too. tests/base/upstream_facts holds every name to the upstream's source, so that a
new pin says itself what no longer holds.
"""
