"""Validation losses and samples of a model in training."""

from gpt.data.dataset import Dataset
from gpt.generate import Continuation, Sampler
from gpt.language_model import Bigram, LanguageModel
from gpt.loss import Windows, token_losses
from gpt.train.bigram_table import TableStatistics
from gpt.train.history import History, SampleRow, ValidationRow
from gpt.train.params import TrainParams


class Observer:
    """Adds what it measures of a model to the history of its run."""

    def __init__(self, model: LanguageModel, params: TrainParams, data: Dataset) -> None:
        self.model, self.params, self.data = model, params, data
        self.table: TableStatistics | None = None
        if isinstance(model, Bigram):
            tokenizer = data.tokenizer
            self.table = TableStatistics(data.train, tokenizer.end_of_text, tokenizer.vocab_size)

    def validate(self, step: int, history: History) -> None:
        """Add the validation loss, and of a bigram the state of its table."""
        history.validation.append(ValidationRow(step, self.val_loss()))
        if self.table and isinstance(self.model, Bigram):
            before = history.table[-1] if history.table else None
            history.table.append(self.table.row(step, self.model, before))

    def sample(self, step: int, history: History) -> None:
        """Add a text that the model writes."""
        history.samples.append(SampleRow(step, self.text()))

    def val_loss(self) -> float:
        """The loss per token on the beginning of the validation split."""
        block_size, params = self.model.config.block_size, self.params
        windows = Windows(self.data.tokenizer.end_of_text, block_size, block_size)
        ids = self.data.val[: params.eval_tokens]
        return float(token_losses(self.model, ids, windows, params.batch_size, params.dtype).mean())

    def text(self) -> str:
        """The prompt and what the model writes after it."""
        params, tokenizer = self.params, self.data.tokenizer
        sampler = Sampler(temperature=0.8, top_k=50, n_ids=tokenizer.vocab_size)
        end = tokenizer.end_of_text
        continuation = Continuation(sampler, params.sample_tokens, params.seed, end)
        ids = continuation.of(self.model, tokenizer.encode_prompt(params.sample_prompt))
        self.model.train()
        return params.sample_prompt + tokenizer.decode(ids)
