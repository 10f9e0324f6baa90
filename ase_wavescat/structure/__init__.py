"""Structures as the package computes with them: cells, boundaries, neighbours, limits."""
