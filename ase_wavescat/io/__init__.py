"""Structures in files."""
