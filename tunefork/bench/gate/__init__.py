"""The accuracy gate before any performance run."""
