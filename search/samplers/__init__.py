"""Which configuration is tried next. Imports nothing else of this repository."""
