"""A checkout and what stands in it: apply, switch, export, park, status; a user's work is never lost."""
