"""The A/B: plan the trials, run them with resume, judge them, and know how many pairs a claim needs."""
