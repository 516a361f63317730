"""How fast training is, and what a search costs beside it."""
