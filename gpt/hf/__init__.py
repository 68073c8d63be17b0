"""Hugging Face's GPT-2 into our form and back."""
