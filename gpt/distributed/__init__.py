"""Training by several processes under torchrun, applied to `gpt.train` from outside."""
