"""The evaluation of a trained model."""
