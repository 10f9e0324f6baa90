"""Screening of many structures: the pool, what is done to each, who does it, where it is kept, and the ranking."""
