"""The search engine: which configuration next, where it runs, when it stops, what is shown."""
