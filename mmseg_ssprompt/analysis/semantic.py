"""What learned semantic prompts mean: how far they went, and which words they came close to.

**Nearest words are easily over-read**, for three reasons. A prompt that moved a little is still
nearest to its own class name, which says nothing. The largest of hundreds of cosines is large
whatever the prompt means. And embeddings of texts fill only a part of the space, so that any step
within that part comes closer to some words. So each prompt is compared with random ones that

- start at the same default and turn by the same angle, so that they differ in direction only,
- look for their nearest word in the same vocabulary, so that they have as many chances, and
- look, as the prompt does, among the *other* words: without the class's own name.

Two kinds of random direction are drawn. ``any``: uniform on the sphere, perpendicular to the
default; most such steps lead away from all texts, so that this baseline is easy to beat.
``words``: a random mixture of the vocabulary's own (centred) embeddings, perpendicular to the
default; these steps stay among texts as well as learned ones may, and this is the baseline to
look at. ``share_as_close`` is the share of the draws that came as close to a word as the prompt
did: at 0.5 the prompt is as close to words as chance, near 0 closer than chance. With C classes,
some C / 20 of them are below 0.05 by chance alone.
"""

from typing import Any, Dict, List, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['explain_semantic_prompts', 'random_turns']

NUM_WORDS = 5
NUM_DRAWS = 200
#: Radians; below it, a prompt is where it started, up to float32's rounding of the cosine.
_SMALLEST_ANGLE = 2e-3


def explain_semantic_prompts(
    names: Sequence[str],
    prompts: Tensor,
    defaults: Tensor,
    vocabulary: Sequence[str],
    embeddings: Tensor,
    weights: Optional[Tensor] = None,
    seed: int = 0,
) -> List[Dict[str, Any]]:
    """Describe the semantic prompt of each class.

    Args:
        names: The C class names.
        prompts: (C, E) semantic prompts of unit length, as the classifier sees them.
        defaults: (C, E) the text encoder's embeddings of the names, of unit length.
        vocabulary: V words, with the class names among them.
        embeddings: (V, E) the text encoder's embeddings of the words, of unit length.
        weights: (C,) learned weights ``W``. Defaults to None: the prompts have none.
        seed: Of the random draws. Defaults to 0.

    Returns:
        For each class ``name``, ``weight``, ``cosine_to_default``, ``angle_degrees``,
        ``nearest_words`` (five, each with the cosine of the prompt and of the default),
        ``nearest_other_word`` (the class's own name left out), and ``baseline`` with the cosine
        of random prompts to their nearest other word: by kind, ``mean``, ``std`` and
        ``share_as_close``; None for a prompt that has not moved.

    Raises:
        ValueError: If a class name is not in the vocabulary.
    """
    lowered = [word.lower() for word in vocabulary]
    absent = [name for name in names if name.lower() not in lowered]
    if absent:
        raise ValueError(f'the vocabulary has no {absent}: add the class names to it')
    cosines, default_cosines = prompts @ embeddings.t(), defaults @ embeddings.t()  # (C, V)
    generator = torch.Generator().manual_seed(seed)
    reports = []
    for i, name in enumerate(names):
        own = lowered.index(name.lower())
        angle = _angle(prompts[i], defaults[i])
        words = _describe_words(vocabulary, cosines[i], default_cosines[i])
        other = next(word for word in words if word['word'].lower() != name.lower())
        reports.append(
            dict(
                name=name,
                weight=None if weights is None else float(weights[i]),
                cosine_to_default=float(prompts[i] @ defaults[i]),
                angle_degrees=float(torch.rad2deg(angle)),
                nearest_words=words[:NUM_WORDS],
                nearest_other_word=other,
                baseline=_compare_with_random(
                    defaults[i], angle, _leave_out(embeddings, own), other['cosine'], generator
                ),
            )
        )
    return reports


def random_turns(
    default: Tensor, angle: Tensor, directions: Tensor, generator: torch.Generator, draws: int
) -> Tensor:
    """Unit vectors at one angle from a default, in random directions.

    Args:
        default: (E,) of unit length.
        angle: Radians, a scalar.
        directions: (K, E) whose random mixtures, with independent normal factors, are the
            directions; the unit matrix for uniform ones.
        generator: Of the random numbers.
        draws: ``R``.

    Returns:
        (R, E) of unit length, whose cosine to the default is ``cos(angle)``.
    """
    mixture = torch.randn(draws, len(directions), generator=generator) @ directions  # (R, E)
    sideways = F.normalize(mixture - (mixture @ default)[:, None] * default, dim=-1)
    return angle.cos() * default + angle.sin() * sideways


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """The angle between unit vectors in radians, also where the cosine rounds to 1."""
    return 2 * torch.atan2((a - b).norm(), (a + b).norm())


def _describe_words(
    vocabulary: Sequence[str], cosines: Tensor, default_cosines: Tensor
) -> List[Dict[str, Any]]:
    """The nearest words, one more than is shown in case the first is the class's own name."""
    best = cosines.topk(min(NUM_WORDS + 1, len(vocabulary))).indices.tolist()
    return [
        dict(
            word=vocabulary[j],
            cosine=float(cosines[j]),
            cosine_of_default=float(default_cosines[j]),
        )
        for j in best
    ]


def _leave_out(embeddings: Tensor, index: int) -> Tensor:
    return torch.cat([embeddings[:index], embeddings[index + 1 :]])


def _compare_with_random(
    default: Tensor, angle: Tensor, words: Tensor, cosine: float, generator: torch.Generator
) -> Optional[Dict[str, Dict[str, float]]]:
    """Cosines of random prompts to their nearest other word; see the module's text."""
    if angle < _SMALLEST_ANGLE:
        return None
    kinds = dict(any=torch.eye(len(default)), words=words - words.mean(dim=0))
    baseline = {}
    for kind, directions in kinds.items():
        turned = random_turns(default, angle, directions, generator, NUM_DRAWS)
        best = (turned @ words.t()).amax(dim=-1)  # (R,)
        baseline[kind] = dict(
            mean=float(best.mean()),
            std=float(best.std()),
            share_as_close=float((best >= cosine).float().mean()),
        )
    return baseline
