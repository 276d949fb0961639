"""The command kernels and its subcommands."""
