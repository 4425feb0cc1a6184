"""The frozen parts of SEEM, written for the keys of its official files."""
