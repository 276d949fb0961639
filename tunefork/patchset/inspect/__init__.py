"""Questions about a series that change nothing: lint, needs, versions, differences, bisection."""
