"""Correlations of densities and maps in bands of reciprocal space."""
