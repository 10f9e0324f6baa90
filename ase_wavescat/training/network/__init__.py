"""Training of networks, by torch: the twin of the compiled network, its losses, stages and checkpoints.

What needs torch says so when it is imported; plans, settings and examples do without.
"""
