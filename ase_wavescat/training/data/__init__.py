"""Labelled structures: reading, checking, comparing."""
