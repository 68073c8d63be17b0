"""Commands that make calls beside the stages."""
