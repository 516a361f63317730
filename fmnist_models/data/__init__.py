"""Images and labels: idx files, where they are found or fetched, tensors."""
