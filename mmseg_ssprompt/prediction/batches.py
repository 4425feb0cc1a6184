"""How many pictures the model sees at once: as many as the memory of its device has room for."""

from typing import Any, Callable, Iterator, List, Optional, Sequence, TypeVar, Union

import torch

__all__ = ['BatchSize']

#: More at once are not faster.
_MOST = 16
#: Of the memory that is free, what may be filled.
_FILLED = 0.8

T = TypeVar('T')


class BatchSize:
    """The number of pictures in a batch.

    On a GPU the first batch has one, whose memory is measured. On a CPU, where one picture keeps
    all cores busy, each batch has one. Where memory does not suffice all the same, batches are
    halved.

    Args:
        device: Of the model.
        size: To begin with. Defaults to None: what fits.

    Attributes:
        size: Of the next batch.
    """

    def __init__(self, device: torch.device, size: Optional[int] = None) -> None:
        self._device = device
        self._measures = size is None and device.type == 'cuda'
        self.size = size or 1

    def run(
        self, model: Callable[[Sequence[Any]], List[T]], batch: Sequence[Any]
    ) -> Iterator[Union[T, MemoryError]]:
        """Predict a batch, in parts where memory does not suffice.

        Args:
            model: Takes samples to as many results.
            batch: The samples, of one size.

        Yields:
            The result of each sample, or an error where memory does not suffice for it alone.
        """
        done = 0
        while done < len(batch):
            part = batch[done : done + self.size]
            results: List[Union[T, MemoryError]] = []
            try:
                found = self._measure(model, part)
                results += found
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                self.size, self._measures = max(len(part) // 2, 1), False
                if len(part) == 1:
                    results = [MemoryError(f'{self._device}: {error}')]
            # Outside of the handler, so that the tensors of a batch that failed are gone.
            if not results and self._device.type == 'cuda':
                torch.cuda.empty_cache()
            done += len(results)
            yield from results

    def _measure(self, model: Callable[[Sequence[Any]], List[T]], part: Sequence[Any]) -> List[T]:
        if not self._measures:
            return model(part)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        results = model(part)
        each = (torch.cuda.max_memory_allocated(self._device) - before) / len(part)
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        self.size = max(1, min(_MOST, int(_FILLED * free / max(each, 1))))
        self._measures = False
        return results


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not allocate memory; on CPUs it raises a plain RuntimeError."""
    texts = ('out of memory', 'allocate memory', 'not enough memory')
    is_torchs = isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    return is_torchs or isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
