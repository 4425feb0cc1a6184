"""Fit from photographs to a report: what is written fits together, and an interruption changes
nothing."""
