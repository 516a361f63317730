"""Scripts that measure; see benchmarks/README.md."""
