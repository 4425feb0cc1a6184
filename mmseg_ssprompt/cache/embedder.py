"""From a data set's pipeline to embedded samples."""

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..draws import seed_draws
from ..files import sha256_of
from .recipe import DTYPES, CacheError, Recipe

__all__ = ['LABELS', 'SEGMENTS', 'EmbeddedSample', 'Embedder', 'SourceViews']

#: Names of the label map and of the map of segments among a sample's tensors.
LABELS, SEGMENTS = 'labels', 'segments'
_TRUTHS = {'gt_sem_seg', 'gt_segments'}


class EmbeddedSample(NamedTuple):
    """What the model sees of a sample.

    Attributes:
        features: Of the cache's type, on the CPU, by the names of
            :meth:`~mmseg_ssprompt.models.base.ImageFeatures.named`, without the batch.
        labels: (1, H, W), or None where there is no label map. On disk one byte a pixel, or four
            if there are other ids than 0 to 255.
        metainfo: Of the data sample, after the data preprocessor.
        files: What :meth:`SourceViews.files` says of its files; None if unknown.
        segments: (1, H, W), numbers of segments, or None where the sample has none. On disk they
            are one more, so that void is 0, in one byte a pixel or in four.
        segments_info: What is known of each, see ``TrueSegment``.
    """

    features: Dict[str, Tensor]
    labels: Optional[Tensor]
    metainfo: Dict[str, Any]
    files: Optional[Dict[str, Any]] = None
    segments: Optional[Tensor] = None
    segments_info: Optional[List[Dict[str, int]]] = None

    def named(self) -> Dict[str, Tensor]:
        """All tensors that are there, by name."""
        maps = {LABELS: self.labels, SEGMENTS: self.segments}
        return {**self.features, **{name: m for name, m in maps.items() if m is not None}}

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.named().values())


class SourceViews(Dataset[Any]):
    """A data set that sends each sample through the pipeline V times.

    The number of an embedded sample is ``index * V + view``. Its random draws are seeded by the
    seed, the index and the view alone, so they are the same in whatever process and order.

    Args:
        dataset: The data set.
        views: ``V``.
        seed: Of the random draws.
    """

    def __init__(self, dataset: BaseDataset, views: int, seed: int) -> None:
        self.dataset, self.views, self.seed = dataset, views, seed

    def __len__(self) -> int:
        return len(self.dataset) * self.views

    def __getitem__(self, number: int) -> Any:
        index, view = divmod(number, self.views)
        seed_draws(self.seed, index, view)
        return self.dataset[index]

    def files(self, number: int) -> Dict[str, Dict[str, Any]]:
        """Size and SHA-256 of the image and the label map of an embedded sample, as they are now.

        Returns:
            ``bytes`` and ``sha256`` by the entry of the data set's record that names the file.
            Files that are not on a disk of this machine, but drawn or fetched, are left out.
        """
        info, found = self.dataset.get_data_info(number // self.views), {}
        for entry in ('img_path', 'seg_map_path'):
            file = Path(info.get(entry) or '')
            if file.is_file():
                state = file.stat()
                sha256 = _hash_file(file, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
                found[entry] = dict(bytes=state.st_size, sha256=sha256)
        return found


@lru_cache(maxsize=64)  # the views of an image come one after the other
def _hash_file(file: Path, *_state: int) -> str:
    return sha256_of(file)


class Embedder:
    """The data preprocessor and the image encoder of a recipe.

    Args:
        recipe: What to build.
        device: Where to run it.
        encoder: The image encoder, if it is there. Defaults to None: the recipe's is built.
    """

    def __init__(
        self, recipe: Recipe, device: str = 'cpu', encoder: Optional[nn.Module] = None
    ) -> None:
        self.recipe = recipe
        self.training, self.dtype = not recipe.test_mode, DTYPES[recipe.dtype]
        self.preprocessor = MODELS.build(copy.deepcopy(recipe.data_preprocessor)).to(device)
        if encoder is None:
            encoder = MODELS.build(copy.deepcopy(recipe.encoder))
        self.encoder = encoder.to(device).eval()

    @torch.no_grad()
    def __call__(self, packed: Any) -> EmbeddedSample:
        """Embed one sample. Each is a batch of its own, so none depends on its neighbours.

        Args:
            packed: What the pipeline returned.

        Raises:
            CacheError: If it has annotations that a cache does not hold, or an embedding is not
                finite in the cache's type.
        """
        batch = self.preprocessor(pseudo_collate([packed]), self.training)
        (sample,) = batch['data_samples']
        features = {
            feature: tensor[0].to(self.dtype).cpu().contiguous()
            for feature, tensor in self.encoder(batch['inputs']).named().items()
        }
        name = sample.metainfo.get('img_path')
        unknown = sorted(set(sample.keys()) - _TRUTHS)
        if unknown:
            raise CacheError(
                f'sample {name!r}: expected no other annotations than {sorted(_TRUTHS)}, found '
                f'{unknown}: a cache does not hold these'
            )
        if not all(tensor.isfinite().all() for tensor in features.values()):
            raise CacheError(
                f'sample {name!r}: expected features that are finite in {self.dtype}, found '
                "infinite or undefined numbers. Set dtype='float32', or look at the image"
            )
        labels = _narrow(sample.gt_sem_seg.data.cpu()) if 'gt_sem_seg' in sample else None
        segments = infos = None
        if 'gt_segments' in sample:
            segments = _narrow(sample.gt_segments.data.cpu() + 1)
            infos = sample.gt_segments.metainfo['segments_info']
        return EmbeddedSample(features, labels, sample.metainfo, None, segments, infos)


def _narrow(labels: Tensor) -> Tensor:
    """Ids in one byte a pixel where they fit, else in four."""
    fits = labels.numel() == 0 or (labels.min() >= 0 and labels.max() <= 255)
    return labels.to(torch.uint8 if fits else torch.int32).contiguous()
