"""The loss of a row, and the training loss of a trial as it adds up. Knows tensors only."""

from __future__ import annotations

import torch


def row_losses(
    logits: torch.Tensor, labels: torch.Tensor, regression: bool, smoothing: float = 0.0
) -> torch.Tensor:
    """The loss of each row [rows]: the squared error of column 0, or the cross entropy.

    Computed in float32, in float64 where the logits are.
    """
    logits = logits.double() if logits.dtype == torch.float64 else logits.float()
    if regression:
        return (logits[:, 0] - labels.to(logits.dtype)).square()
    return torch.nn.functional.cross_entropy(
        logits, labels.long(), reduction="none", label_smoothing=smoothing
    )


class Losses:
    """This rank's training loss since the last report, and the first step where it was not finite.

    Adding to it never waits for the device; `read` does.
    """

    def __init__(self, device: torch.device, total: float = 0.0, steps: int = 0) -> None:
        self.steps = steps
        self._step = torch.zeros((), dtype=torch.float64, device=device)
        self._total = torch.full_like(self._step, total)
        self._bad_step = torch.zeros_like(self._step)
        self._bad_value = torch.zeros_like(self._step)

    def add(self, loss: torch.Tensor) -> None:
        """Count one pass."""
        self._step += loss.detach()

    def close_step(self, step: int) -> None:
        """Count an optimizer step, numbered from 1, as done."""
        new = (self._bad_step == 0) & ~torch.isfinite(self._step)
        self._bad_step += new * step
        self._bad_value = torch.where(new, self._step, self._bad_value)
        self._total += self._step
        self._step = torch.zeros_like(self._step)
        self.steps += 1

    def read(self) -> tuple[float, int, float]:
        """The sum of the steps' losses, the first step that was not finite (0: none), its value."""
        total, step, value = torch.stack([self._total, self._bad_step, self._bad_value]).tolist()
        return total, int(step), value

    def go_on_from(self, total: float, steps: int) -> None:
        """Take up the sum that a checkpoint had."""
        self._total.fill_(total)
        self.steps = steps

    def start_over(self) -> None:
        """Forget the sum: it has been reported."""
        self._total.zero_()
        self.steps = 0
