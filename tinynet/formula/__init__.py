"""The tiny formula and compound scaling: from a budget of MACs to a spec."""
