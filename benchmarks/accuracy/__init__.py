"""What accuracy is reached, by what, in which time."""
