"""A search: sampling and training candidates at a fixed cost, and what they show."""
