"""Doctor: what of this machine and environment is right, wrong or not applicable."""
