"""What goes into each exported folder beside its graphs: it needs nothing of this package."""
