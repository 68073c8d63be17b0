"""GPT-2 that you can trust: the shared package. Importing any of it does nothing."""
