"""The life of a trial and of the driver that runs it, free of Ray."""
