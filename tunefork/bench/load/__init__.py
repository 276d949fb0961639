"""The load on a server, drawn by a client, and whether its answer is a measurement."""
