"""Final training of a configuration, several seeds, ensembles, distillation; the test set."""
