"""Profiles: where the time of a decode step goes, by class of kernel."""
