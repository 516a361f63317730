"""Words in, exit code out: options, the commands of `python -m search`, the list of spaces."""
