"""What runs in a worker's process, and what it and the driver tell each other."""
