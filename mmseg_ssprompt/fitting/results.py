"""The content of ``results.json``: what ``fit`` has found when it ends."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ..files import read_json
from .bases import ARMS, Base, explain_missing_arms

__all__ = ['describe_arm', 'find_notes', 'read_results']

#: Losses in the curves of a report are means of so many iterations.
_WINDOW = 10


def read_results(out: Path) -> Dict[str, Any]:
    """What ``fit`` has written when it ended: the content of ``OUT/results.json``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON.
    """
    results = read_json(out / 'results.json')
    if results is None:
        raise FileNotFoundError(
            f'{str(out)!r}: expected results.json, which `mmseg-ssprompt fit` writes when it ends, '
            'found none. Run its command again'
        )
    return results


def describe_arm(
    arm: str,
    rate: float,
    metric: str,
    run: Mapping[str, Any],
    best: Mapping[str, Any],
    validations: Sequence[Mapping[str, Any]],
) -> Dict[str, Any]:
    """The entry of an arm, as yet without the figures of the test and of short runs.

    Args:
        arm: What was trained.
        rate: Its learning rate.
        metric: The name of the main result of validations.
        run: The result of its last training.
        best: The validation that was chosen.
        validations: All, for the curve.
    """
    losses = run['losses']
    windows = [losses[start : start + _WINDOW] for start in range(0, len(losses), _WINDOW)]
    ends = np.cumsum([len(each) for each in windows]).tolist()
    return dict(
        name=arm,
        title=ARMS[arm],
        learning_rate=rate,
        rates={},
        iterations=len(losses),
        best_iteration=int(best['iteration']),
        validation={name: value for name, value in best.items() if name != 'iteration'},
        test=None,
        trainable_parameters=run['trainable_parameters'],
        train_seconds=run['seconds'],
        curve=dict(
            loss=[[end, float(np.mean(each))] for end, each in zip(ends, windows)],
            validation=[[int(v['iteration']), v.get(metric)] for v in validations],
        ),
    )


def find_notes(
    base: Base, method: str, folds: int, zero_shot_score: float, best_score: float
) -> List[str]:
    """What a reader of the results has to know.

    Args:
        base: The base model.
        method: 'auto' or an arm.
        folds: Of cross-validation; 0 without.
        zero_shot_score: The main result of handcrafted prompts in validation.
        best_score: That of the best arm.
    """
    notes = []
    if method == 'auto' and len(base.arms) < len(ARMS):
        notes.append(explain_missing_arms(base))
    if base.kind == 'sam' and not base.has_projection:
        notes.append(
            'The projection of the zero-shot row is random: it says what chance gives, and not '
            f'what {base.name} knows.'
        )
    if zero_shot_score >= best_score:
        notes.append(
            'No training was better than the handcrafted prompts on the pictures for validation.'
        )
    if folds:
        notes.append(
            f'There are few pictures, so figures of validation are means of {folds} '
            'folds, and the last training is on all pictures but those of the test.'
        )
    return notes
