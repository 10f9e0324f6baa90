"""Wavelets in real space, for sums over neighbours."""
