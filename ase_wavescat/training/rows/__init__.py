"""Rows of the fit, kept on disk."""
