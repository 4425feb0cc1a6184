"""What learned context tokens mean: the tokens of the vocabulary that they are nearest to (CoOp).

CoOp (arXiv 2109.01134) prints, for each learned context vector, the word whose embedding is at the
smallest Euclidean distance. Here each distance stands beside ``typical``: the median distance of
words to their own nearest other word. A context vector that is further than that from every word
is no word.
"""

from typing import Any, Dict, List

import torch
from mmseg.utils.tokenizer import SimpleTokenizer
from torch import Tensor

__all__ = ['explain_context_tokens']

NUM_WORDS = 5
_SAMPLE = 200  # words whose nearest other word is looked for


def explain_context_tokens(context: Tensor, table: Tensor, seed: int = 0) -> Dict[str, Any]:
    """The nearest tokens of each context vector.

    Args:
        context: (M, W) learned context, or (C, M, W) with one for each class.
        table: (V, W) the text encoder's embeddings of CLIP's tokens.
        seed: Of the words that ``typical`` is measured on. Defaults to 0.

    Returns:
        ``typical``, and ``contexts``: for each context, for each of its M vectors, five
        dicts of ``token`` and ``distance``.
    """
    decoder = SimpleTokenizer()
    contexts = context.reshape(-1, *context.shape[-2:])
    return dict(
        typical=_typical_distance(table, seed),
        contexts=[_nearest_tokens(vectors, table, decoder) for vectors in contexts],
    )


def _nearest_tokens(
    vectors: Tensor, table: Tensor, decoder: SimpleTokenizer
) -> List[List[Dict[str, Any]]]:
    nearest = torch.cdist(vectors, table).topk(NUM_WORDS, largest=False)
    return [
        [
            dict(token=decoder.decoder[index].replace('</w>', ''), distance=distance)
            for index, distance in zip(indices, distances)
        ]
        for indices, distances in zip(nearest.indices.tolist(), nearest.values.tolist())
    ]


def _typical_distance(table: Tensor, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(table), generator=generator)[:_SAMPLE]
    distances = torch.cdist(table[chosen], table)
    distances[torch.arange(len(chosen)), chosen] = torch.inf
    return float(distances.amin(dim=1).median())
