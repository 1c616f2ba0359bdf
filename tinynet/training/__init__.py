"""A training run: the loop, the run's folder, log, schedule, evaluation."""
