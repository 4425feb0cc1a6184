"""The parts of ``dev/pretrain_seem_tiny.py``."""
