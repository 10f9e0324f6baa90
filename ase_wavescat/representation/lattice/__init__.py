"""What all families on reciprocal lattices share: vectors, filters, FFTs, structure factors, bands."""
