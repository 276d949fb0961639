"""Profiles: what a server is started with, which scenarios it is measured on, which accuracy must hold."""
