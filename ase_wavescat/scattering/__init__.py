"""The transform: pure functions of (cell, positions, numbers)."""
