"""Training: labelled structures in, a model out."""
