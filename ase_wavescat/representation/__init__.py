"""From structures to features: pure functions of (cell, positions, numbers)."""
