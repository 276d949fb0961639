"""An MXFP4 checkpoint on this disk, before any server: its layout, whether it is whole, and what its bytes say. No torch; numpy for the bytes."""
