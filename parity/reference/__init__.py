"""The reference, in float64 and without a framework: operations, nets, training, schedules."""
