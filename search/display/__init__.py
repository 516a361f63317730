"""What is shown while a search runs: the live table, and the server of the dashboard."""
