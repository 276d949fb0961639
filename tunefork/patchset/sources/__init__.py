"""Where an upstream comes from: pins, git mirrors, package indexes, source distributions."""
