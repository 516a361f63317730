"""Random changes of training images, and the batches they end up in."""
