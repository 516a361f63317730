"""What samplers and schedulers find for a budget, on surrogates of learning curves."""
