"""What came of a study: summary, export, fresh seeds, and where it all came from."""
