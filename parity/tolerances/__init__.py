"""How large an error may be: the table of bounds, calibrations, and how they are measured."""
