"""The network architectures, one file a family, and the layers that they share."""
