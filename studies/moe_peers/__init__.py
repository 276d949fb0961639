"""The MoE layer on an H200 beside all peers, in parts of one device call: the table, other layers and routings, repeats, cold start, clocks."""
