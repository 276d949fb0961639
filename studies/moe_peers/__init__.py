"""What the next hour on an H200 is for: candidates for many tokens beside Humming, and the cells of the MoE table that no clock has seen."""
