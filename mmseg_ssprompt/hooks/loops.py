"""Loops: training that an interruption does not change, and errors that name the file."""

from typing import Any, Dict, Sequence

import torch
from mmengine.dist import get_rank
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from ..datasets.checks import explain_dataset_errors
from ..datasets.seeded import PlacedSampler, SeededDataset
from ..draws import seed_draws
from .preemption_hook import VALIDATION_DUE, PreemptionHook

__all__ = ['PromptTestLoop', 'PromptValLoop', 'ResumableTrainLoop']

# Stream of random numbers; 1 and 3 are those of samples.
_STEPS = 2


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's loop, in which all that is drawn depends on the seed and the iteration alone.

    A resumed training thus reads the samples, and draws the numbers, that the one that was
    interrupted would have; on one process of a CPU it ends with the same bits. mmengine's own
    loop reads all samples again to get to where it was, and draws from generators that begin
    again.

    Args:
        runner: The runner.
        dataloader: Config of the data loader.
        max_damaged: How many samples whose files cannot be read are replaced by others before
            training ends; see :class:`SeededDataset`. Defaults to 0: it ends at the first.
        **kwargs: See ``IterBasedTrainLoop``.

    Raises:
        ValueError: If ``max_damaged`` is no number from 0 on.
    """

    def __init__(
        self, runner: Runner, dataloader: Dict[str, Any], max_damaged: int = 0, **kwargs: Any
    ) -> None:
        seeded = dict(type=SeededDataset, dataset=dataloader['dataset'], max_damaged=max_damaged)
        placed = dict(type=PlacedSampler, sampler=dataloader['sampler'], seed=runner.seed)
        super().__init__(runner, dict(dataloader, dataset=seeded, sampler=placed), **kwargs)

    def run(self) -> Any:
        """Train, from the iteration on that was resumed."""
        if self.iter >= self.max_iters:
            self.runner.logger.warning(
                f'Training is already finished: it is resumed at iteration {self.iter} of '
                f'{self.max_iters}, so that nothing is trained. To train on, let max_iters be '
                'larger; to train again, give another work_dir'
            )
        try:
            with explain_dataset_errors():
                if self.iter > 0:
                    # The seed may be that of the checkpoint, which was not known before.
                    start = self.iter * self.dataloader.batch_sampler.batch_size
                    self.dataloader.sampler.go_to(self.runner.seed, start)
                    self.dataloader_iterator = _ResumedIterator(self.dataloader, self.iter)
                return super().run()
        finally:
            for hook in self.runner.hooks:
                if isinstance(hook, PreemptionHook):  # also after an error, as in a notebook
                    hook.restore_signals()

    def run_iter(self, data_batch: Sequence[Dict[str, Any]]) -> None:
        """Iterate one mini-batch, with draws of its own."""
        seed_draws(_STEPS, self.runner.seed, get_rank(), self.iter)
        if torch.cuda.is_available():
            torch.cuda.manual_seed(torch.initial_seed())
        self.runner.message_hub.update_info(VALIDATION_DUE, self._validates_after(self.iter + 1))
        super().run_iter(data_batch)

    def _validates_after(self, iterations: int) -> bool:
        return (
            self.runner.val_loop is not None
            and iterations >= self.val_begin
            and (iterations % self.val_interval == 0 or iterations == self.max_iters)
        )


class _ResumedIterator:
    """Batches from the place on where training was.

    The loop drops as many batches as there were iterations: mmengine by taking them, OneDL by
    ``skip_iter``. None of them is read.
    """

    def __init__(self, dataloader: DataLoader[Any], dropped: int) -> None:
        self._iterator = iter(dataloader)
        self._dropped = dropped

    def __next__(self) -> Any:
        if self._dropped > 0:
            self._dropped -= 1
            return None
        return next(self._iterator)

    def skip_iter(self, num_iters: int) -> None:
        """Drop batches."""
        self._dropped -= num_iters


class _ExplainDatasetErrors:
    """Builds and runs a loop within :func:`explain_dataset_errors`, whichever tool runs it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with explain_dataset_errors():
            super().__init__(*args, **kwargs)

    def run(self) -> Dict[str, float]:
        """Run the loop, and return the numbers of the evaluators by name."""
        with explain_dataset_errors():
            metrics: Dict[str, float] = super().run()  # type: ignore[misc]
        return metrics


@LOOPS.register_module()
class PromptValLoop(_ExplainDatasetErrors, ValLoop):
    """mmengine's ``ValLoop``, whose :class:`DatasetError` names the data set or the file."""


@LOOPS.register_module()
class PromptTestLoop(_ExplainDatasetErrors, TestLoop):
    """mmengine's ``TestLoop``, whose :class:`DatasetError` names the data set or the file."""
