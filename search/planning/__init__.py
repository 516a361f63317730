"""What an epoch costs here, what fits, and how long it will take."""
