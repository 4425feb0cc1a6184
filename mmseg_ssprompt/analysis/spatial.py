"""What learned spatial prompts mean: how far they went, and which points they came close to.

A learned embedding need not be what the frozen prompt encoder says of any point. So the nearest
handcrafted prompt is looked for among a dense grid of points with each of SAM's four labels, and
the cosine says how near that is. As with words, the nearest of very many says little by itself.
Beside it stands a random baseline: embeddings that went as far from the same default, in a
direction drawn uniformly (``NUM_DRAWS`` draws per prompt, seeded). Where learned prompts are no
further from their default points and no closer to any point than random ones, the arrows of a
figure mean nothing.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.prompts.spatial import point_grid
from ..models.sam.prompt_encoder import SAMPromptEncoder

__all__ = [
    'POINT_LABELS',
    'CandidatePoints',
    'DefaultTokens',
    'default_tokens',
    'encode_with_labels',
    'explain_coordinates',
    'explain_spatial_prompts',
]

#: In the order of ``point_embeddings`` of segment_anything's ``PromptEncoder``.
POINT_LABELS = ('negative', 'positive', 'box corner 1', 'box corner 2')
_POSITIVE, _CORNERS = 1, (2, 3)
NUM_DRAWS = 10
CANDIDATES_PER_CELL = 4  # along each side of a cell of the image embedding
_CHUNK = 256  # tokens compared at a time
_TOLERANCE = 1e-3  # of default embeddings, whose entries are of the order of 1


class DefaultTokens(NamedTuple):
    """The tokens of the default prompts that stand for a place: one of a point, two of a box.

    Attributes:
        points: (P, 2) float, x and y in pixels of the square input frame.
        prompts: (P,) int64, number of the prompt.
        tokens: (P,) int64, number of the token within its prompt.
        labels: (P,) int64, index into :data:`POINT_LABELS`.
    """

    points: Tensor
    prompts: Tensor
    tokens: Tensor
    labels: Tensor


def default_tokens(handcrafted: Tensor, size: int) -> DefaultTokens:
    """The tokens of points or boxes that stand for a place.

    Args:
        handcrafted: Points (N, 2) or boxes (N, 4), in fractions of the frame.
        size: Side of the square input frame, in pixels.
    """
    places = handcrafted.float().view(-1, 2) * size
    per_prompt = handcrafted.shape[1] // 2
    number = torch.arange(len(places))
    tokens = number % per_prompt
    labels = torch.tensor(_CORNERS)[tokens] if per_prompt == 2 else tokens + _POSITIVE
    return DefaultTokens(places, number // per_prompt, tokens, labels)


def encode_with_labels(prompt_encoder: SAMPromptEncoder, points: Tensor) -> Tensor:
    """What the frozen encoder says of points with each of the four labels.

    Args:
        prompt_encoder: The frozen encoder.
        points: (K, 2) in pixels.

    Returns:
        (4, K, D) tokens, in the order of :data:`POINT_LABELS`.
    """
    singles = [
        prompt_encoder.encode_points(points[:, None], points.new_full((len(points), 1), label))
        for label in (0, 1)
    ]
    corners = prompt_encoder.encode_boxes(torch.cat([points, points], dim=1))  # (K, 2, D)
    return torch.stack([singles[0][:, 0], singles[1][:, 0], corners[:, 0], corners[:, 1]])


class CandidatePoints:
    """A dense grid of points with all labels, in which the nearest to a token is looked up.

    Args:
        prompt_encoder: The frozen encoder.

    Attributes:
        points: (K, 2) in pixels.
        embeddings: (4, K, D) of unit length.
        spacing: Distance of neighbours, in pixels.
    """

    def __init__(self, prompt_encoder: SAMPromptEncoder) -> None:
        cells = prompt_encoder.image_pe().shape[-1]
        side = CANDIDATES_PER_CELL * cells
        device = prompt_encoder.image_pe().device
        self.points = (point_grid(side**2) * prompt_encoder.image_size).to(device)
        self.spacing = prompt_encoder.image_size / side
        self.embeddings = F.normalize(encode_with_labels(prompt_encoder, self.points), dim=-1)

    def nearest(
        self, tokens: Tensor, own_points: Tensor, own_embeddings: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """The point and the label of the highest cosine to each token.

        Args:
            tokens: (P, D).
            own_points: (P, 2) a further candidate of each token alone: its default point, so
                that a token that has not moved is found where it was.
            own_embeddings: (4, P, D) of the further candidates.

        Returns:
            Points (P, 2), labels (P,) int64 and cosines (P,).
        """
        tokens = F.normalize(tokens, dim=-1)
        own_cosines, own_labels = _max(
            (F.normalize(own_embeddings, dim=-1) * tokens).sum(dim=-1), dim=0
        )
        found = [self._nearest_on_grid(chunk) for chunk in tokens.split(_CHUNK)]
        points, labels, cosines = (torch.cat(parts) for parts in zip(*found))
        stays = own_cosines >= cosines
        return (
            torch.where(stays[:, None], own_points, points),
            torch.where(stays, own_labels, labels),
            torch.where(stays, own_cosines, cosines),
        )

    def _nearest_on_grid(self, tokens: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        by_label = [_max(tokens @ candidates.t(), dim=1) for candidates in self.embeddings]
        cosines, indices = (torch.stack(parts) for parts in zip(*by_label))  # (4, P)
        best, labels = _max(cosines, dim=0)
        return self.points[indices.gather(0, labels[None])[0]], labels, best


def _max(values: Tensor, dim: int) -> Tuple[Tensor, Tensor]:
    found = values.max(dim=dim)
    return found.values, found.indices


def explain_spatial_prompts(
    prompt_encoder: SAMPromptEncoder,
    start: DefaultTokens,
    fused: Tensor,
    default: Tensor,
    weights: Tensor,
    seed: int = 0,
) -> Dict[str, Any]:
    """Describe the learned embedding of each point (or corner of a box).

    Args:
        prompt_encoder: The frozen encoder.
        start: The places of the default prompts.
        fused: (N, T, D) the prompts that go to the decoder.
        default: (N, T, D) the default prompts.
        weights: (N,) learned weights ``W``.
        seed: Of the random baseline. Defaults to 0.

    Returns:
        ``prompts``: for each place ``prompt``, ``token``, ``weight``, ``default`` and ``nearest``
        (x and y in pixels and as fractions, label), ``cosine_to_nearest``, ``drift``
        (``||fused - default|| / ||default||``), ``displacement_pixels``, and of points
        ``padding_drift``, that of SAM's not-a-point token; and, unless nothing has moved,
        ``random_cosine_to_nearest``, the mean of the random embeddings. ``summary``: of
        ``learned`` and of ``random`` embeddings the mean cosine, the median and mean displacement,
        the share that was displaced at all and the share that kept its label; of ``learned``
        also the mean drift and the mean distance ``||fused - default||`` of each token.
        ``candidate_spacing_pixels``: displacements below it are not resolved.

    Raises:
        ValueError: If ``default`` is not what the encoder says of ``start``.
    """
    place = (start.prompts, start.tokens)
    own = encode_with_labels(prompt_encoder, start.points)  # (4, P, D)
    _check_defaults(own[start.labels, torch.arange(len(start.points))], default[place])
    candidates = CandidatePoints(prompt_encoder)
    points, labels, cosines = candidates.nearest(fused[place], start.points, own)
    steps = (fused - default).norm(dim=-1)  # (N, T)
    drifts = steps / default.norm(dim=-1)
    displacements = (points - start.points).norm(dim=-1)
    size = prompt_encoder.image_size
    prompts: List[Dict[str, Any]] = []
    for i, (prompt, token) in enumerate(zip(*(index.tolist() for index in place))):
        report = dict(
            prompt=prompt,
            token=token,
            weight=float(weights[prompt]),
            default=_describe_point(start.points[i], int(start.labels[i]), size),
            nearest=_describe_point(points[i], int(labels[i]), size),
            cosine_to_nearest=float(cosines[i]),
            drift=float(drifts[prompt, token]),
            displacement_pixels=float(displacements[i]),
        )
        if start.labels[i] == _POSITIVE:
            report['padding_drift'] = float(drifts[prompt, 1])
        prompts.append(report)
    learned = _summarise(displacements, labels == start.labels, cosines)
    summary: Dict[str, Any] = dict(learned={**learned, **_summarise_steps(steps, drifts)})
    if steps[place].max() > 0:
        random = _random_baseline(candidates, start, own, default[place], steps[place], seed)
        summary['random'] = _summarise(*random)
        for report, cosine in zip(prompts, random[2].mean(dim=0).tolist()):
            report['random_cosine_to_nearest'] = cosine
    return dict(
        prompts=prompts,
        summary=summary,
        candidate_spacing_pixels=candidates.spacing,
        candidates_per_label=len(candidates.points),
    )


def _check_defaults(expected: Tensor, found: Tensor) -> None:
    difference = float((expected - found).abs().max())
    if difference > _TOLERANCE:
        raise ValueError(
            'the default spatial prompts of the checkpoint are not those of the configured points '
            f'(they differ by up to {difference:.3g}): use the config that the checkpoint was '
            'trained with (num_prompts, extent, points or boxes of decode_head.spatial_prompts, '
            'and the weights of SAM)'
        )


def _describe_point(point: Tensor, label: int, size: int) -> Dict[str, Any]:
    x, y = point.tolist()
    return dict(x_pixels=x, y_pixels=y, x=x / size, y=y / size, label=POINT_LABELS[label])


def _random_baseline(
    candidates: CandidatePoints,
    start: DefaultTokens,
    own: Tensor,
    default: Tensor,
    steps: Tensor,
    seed: int,
) -> Tuple[Tensor, Tensor, Tensor]:
    """The same of embeddings as far from their default, in random directions.

    Args:
        candidates: What is near.
        start: The places of the P default tokens.
        own: (4, P, D) their embeddings with each label.
        default: (P, D) default tokens.
        steps: (P,) how far each learned token is from its default.
        seed: Of the directions.

    Returns:
        Displacements, whether the label was kept, and cosines, (R, P) each.
    """
    generator = torch.Generator().manual_seed(seed)
    outcomes = []
    for _ in range(NUM_DRAWS):
        directions = torch.randn(default.shape, generator=generator)
        moved = default + steps[:, None] * F.normalize(directions, dim=-1)
        points, labels, cosines = candidates.nearest(moved, start.points, own)
        kept = labels == start.labels
        outcomes.append(((points - start.points).norm(dim=-1), kept, cosines))
    displacements, kept, cosines = (torch.stack(parts) for parts in zip(*outcomes))
    return displacements, kept, cosines


def _summarise_steps(steps: Tensor, drifts: Tensor) -> Dict[str, List[float]]:
    """Mean drift and mean distance of each of the T tokens of a prompt.

    A drift is relative to the norm of the default, and SAM's not-a-point token may be short:
    the distances say in which token the learning went.
    """
    return dict(
        mean_drift_of_each_token=drifts.mean(dim=0).tolist(),
        mean_distance_of_each_token=steps.mean(dim=0).tolist(),
    )


def _summarise(displacements: Tensor, kept_label: Tensor, cosines: Tensor) -> Dict[str, float]:
    return dict(
        mean_cosine_to_nearest=float(cosines.mean()),
        std_cosine_to_nearest=float(cosines.std(unbiased=False)),
        median_displacement_pixels=float(displacements.median()),
        mean_displacement_pixels=float(displacements.mean()),
        share_displaced=float((displacements > 0).float().mean()),
        share_with_default_label=float(kept_label.float().mean()),
    )


def explain_coordinates(start: DefaultTokens, coordinates: Tensor, size: int) -> Dict[str, Any]:
    """Describe prompts that are learned as coordinates: they are points already.

    Args:
        start: The places where they started.
        coordinates: (N, 2) fractions of the frame.
        size: Side of the square input frame, in pixels.

    Returns:
        As :func:`explain_spatial_prompts`, without weights, drifts and cosines, and without a
        random baseline.
    """
    points = coordinates * size
    displacements = (points - start.points).norm(dim=-1)
    prompts = [
        dict(
            prompt=i,
            token=0,
            weight=None,
            default=_describe_point(start.points[i], _POSITIVE, size),
            nearest=_describe_point(points[i], _POSITIVE, size),
            cosine_to_nearest=None,
            drift=None,
            displacement_pixels=float(displacements[i]),
        )
        for i in range(len(points))
    ]
    summary = dict(
        median_displacement_pixels=float(displacements.median()),
        mean_displacement_pixels=float(displacements.mean()),
        share_displaced=float((displacements > 0).float().mean()),
    )
    return dict(prompts=prompts, summary=dict(learned=summary), candidate_spacing_pixels=0.0)
