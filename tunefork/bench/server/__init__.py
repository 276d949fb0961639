"""Serving: the server under test (profiles, command, supervision) and the tiny model that it serves where there is no GPU."""
