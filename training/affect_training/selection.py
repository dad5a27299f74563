"""By what a run chooses its best epoch, and when it ends: one rule for training, tuning and the log read later."""


def selection_score(select: str, accuracy: float, macro_recall: float) -> float:
    """Return what the best epoch has most of: `train.select` is `accuracy`, or `balanced` with the macro recall."""
    return (accuracy + macro_recall) / 2 if select == "balanced" else accuracy


def watched(watch: str, loss: float, accuracy: float) -> float:
    """Return what plateaus and early stopping want to fall: `train.watch` is `loss`, or `accuracy` as error rate."""
    return loss if watch == "loss" else 1 - accuracy


def is_over(epoch: int, best: int, epochs: int, stop_epochs: int) -> bool:
    """Whether a run ends after this epoch: the last one, or `stop_epochs` (0: never) after the best watched figure."""
    return epoch >= epochs or bool(stop_epochs and epoch - best >= stop_epochs)
