"""The parts of ``dev/reproduce.py``."""
