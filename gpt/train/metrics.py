"""The numbers that a finished run is measured by."""

from gpt.train.trainer import Trainer


def train_metrics(trainer: Trainer) -> dict[str, float | int]:
    """The numbers of metrics/train.json. Losses are in nats per token."""
    history = trainer.history
    metrics = {
        "initial_loss": history.validation[0].val_loss,
        "final_train_loss": history.training[-1].loss,
        "final_val_loss": history.validation[-1].val_loss,
        "steps": trainer.step,
        "tokens": trainer.step * trainer.params.tokens_per_step,
        "n_params": sum(p.numel() for p in trainer.model.parameters()),
    }
    if table := trainer.observer.table:
        metrics |= table.metrics(history.table[-1])
    return metrics


def speed_metrics(trainer: Trainer) -> dict[str, float | int]:
    """The speed of the steps that this process made."""
    speed = trainer.speed
    return {
        "steps_timed": speed.steps,
        "seconds": round(speed.seconds, 3),
        "tokens_per_second": round(speed.tokens_per_second, 1),
    }
