"""The command patch and its subcommands."""
