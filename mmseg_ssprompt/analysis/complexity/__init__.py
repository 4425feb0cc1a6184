"""What a configuration costs: parameters, floating-point operations, memory and time."""
