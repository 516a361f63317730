"""When a trial stops."""
