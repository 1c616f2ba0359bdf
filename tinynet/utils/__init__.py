"""Tools without knowledge of nets: strict JSON, atomic files, random numbers, processes, tables."""
