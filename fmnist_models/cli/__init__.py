"""The command line of `python -m fmnist_models`."""
