"""Records: what a measurement leaves. One directory each, written in one step, checked at every reading, never changed."""
