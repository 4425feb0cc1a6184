"""The parts of ``tools/pretrain_clip_tiny.py``."""
