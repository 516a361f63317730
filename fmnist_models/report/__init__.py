"""What people read about a model: its page, its card, its charts."""
