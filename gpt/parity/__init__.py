"""The proof that our model and Hugging Face's compute the same."""
