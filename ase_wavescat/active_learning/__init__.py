"""Which structures to label next, and their labels by any ASE calculator."""
