"""Time of one image, and peak memory above the model, in this process."""

import statistics
from typing import Callable, Dict, List

import torch
from mmengine.optim import build_optim_wrapper

from .flops import count_flops, count_parameters
from .measuring import measure_peak, measure_seconds
from .subject import Subject, make_batch

__all__ = ['MEASURES', 'measure_testing', 'measure_training']

Run = Callable[[], object]


def measure_testing(subject: Subject, images: int) -> Dict[str, object]:
    """Prediction of one image at a time, and what it counts.

    Args:
        subject: The model, just built: the process has had no greater peak since.
        images: How many images are timed, after one that is not.

    Returns:
        ``parameters`` and ``flops``, see there, ``test_seconds`` (median) and ``test_gb``.
    """
    batch = make_batch(subject)
    subject.model.eval()

    def predict() -> None:
        with torch.no_grad():
            subject.model.test_step(batch)

    cost = _measure(predict, images, _device(subject))
    return dict(
        parameters=count_parameters(subject.model),
        flops=count_flops(subject.model, batch),
        frame=list(subject.frame),
        random_weights=subject.random_weights,
        test_seconds=cost['seconds'],
        test_gb=cost['gb'],
    )


def measure_training(subject: Subject, images: int) -> Dict[str, object]:
    """Steps of one image: forward, backward and the optimiser of the config.

    Args and Returns: see :func:`measure_testing`; ``train_seconds`` and ``train_gb``.
    """
    batch = make_batch(subject)
    subject.model.train()
    optimiser = build_optim_wrapper(subject.model, subject.cfg.optim_wrapper)
    cost = _measure(lambda: subject.model.train_step(batch, optimiser), images, _device(subject))
    return dict(train_seconds=cost['seconds'], train_gb=cost['gb'])


#: What is measured in a process of its own.
MEASURES = dict(test=measure_testing, train=measure_training)


def _device(subject: Subject) -> torch.device:
    device: torch.device = next(subject.model.parameters()).device
    return device


def _measure(run: Run, images: int, device: torch.device) -> Dict[str, float]:
    """Median of the seconds of ``run``, and GB at its peak above those before it."""
    seconds: List[float] = []

    def repeat() -> None:
        run()  # threads, buffers, and the optimiser's state
        seconds.extend(measure_seconds(run, device) for _ in range(images))

    peak = measure_peak(repeat, device)
    return dict(seconds=statistics.median(seconds), gb=peak)
