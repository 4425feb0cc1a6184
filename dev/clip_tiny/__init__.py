"""The parts of ``dev/pretrain_clip_tiny.py``."""
