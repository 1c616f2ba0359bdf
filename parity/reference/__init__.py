"""What is right, by its mathematical definition: operations, nets, training, schedules."""
