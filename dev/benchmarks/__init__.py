"""What ``dev/benchmark.py`` measures, a module for each part of the work."""
