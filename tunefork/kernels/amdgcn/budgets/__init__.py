"""The budgets of the gfx950 gate, one JSON file per kernel (README.md)."""
