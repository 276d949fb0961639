"""Commands: one short module each; arguments in, library call, table or JSON out."""
