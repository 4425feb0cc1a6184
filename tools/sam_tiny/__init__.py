"""The parts of ``tools/pretrain_sam_tiny.py``."""
