"""The parts of ``dev/pretrain_sam_tiny.py``."""
