"""The pipeline's stages: thin command lines over `gpt`. dvc.yaml is the map."""
