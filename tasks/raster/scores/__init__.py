"""Scores of maps: pure arrays and geometry, counted block by block."""
