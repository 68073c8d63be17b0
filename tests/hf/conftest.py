"""transformers without its progress bars and remarks."""

from transformers.utils import logging

logging.disable_progress_bar()  # type: ignore[no-untyped-call]
logging.set_verbosity_error()  # type: ignore[no-untyped-call]
