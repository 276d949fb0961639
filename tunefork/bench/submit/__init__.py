"""From a record to the leaderboard."""
