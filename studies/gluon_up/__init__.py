"""`up` of the MXFP4 MoE layer in Gluon: wide tiles, one product in flight while the next operand is decoded, tokens by TMA. A prototype, not shipped."""
