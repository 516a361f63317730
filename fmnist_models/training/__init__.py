"""The training loop and what it is made of: optimizers, schedules, losses, averages, costs."""
