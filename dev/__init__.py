"""What developers run: benchmarks, studies, fuzzing, pre-training of the miniature."""
