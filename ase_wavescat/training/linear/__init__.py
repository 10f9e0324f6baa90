"""Fits of linear ensembles."""
