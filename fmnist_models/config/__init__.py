"""`TrialConfig`: its parts, its files, and the registry of families. No torch here."""
