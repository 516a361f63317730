"""A trained model: its folder, and the model in use."""
