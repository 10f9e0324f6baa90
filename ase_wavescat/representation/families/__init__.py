"""The families of features."""
