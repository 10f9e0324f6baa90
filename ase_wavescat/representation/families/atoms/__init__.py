"""Correlations at the atoms, by neighbour sums."""
