"""What happens to a search when something breaks."""
