"""Recordings: what one framework computes on one machine, compared on any other."""
