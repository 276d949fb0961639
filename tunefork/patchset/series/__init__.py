"""A series and its patches: reading, exact application in the object database, the lock, variants, picks, replay."""
