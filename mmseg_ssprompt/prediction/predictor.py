"""A trained model that takes pictures of any kind: read from a folder of ``fit``, or a config."""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample

from ..config_reading import ConfigError
from ..dataset_wrappers import each_dataset_config, find_configs
from ..datasets.checks import DatasetError, check_classes
from ..datasets.file_checks import check_image
from ..datasets.steps import loaded_kind
from ..files import sha256_of
from ..label_ids import LabelIds, with_rest
from ..models.segmentors import PromptSegmentor
from ..weights.checkpoint_loader import safe_checkpoint_loading
from .pictures import LoadedPicture
from .trained_model import TrainedModel, read_model, read_training_size

__all__ = [
    'Predictor',
    'TrainedModel',
    'find_dataset',
    'read_model',
    'read_training_size',
    'use_image_encoder',
]

_OBJECTS = ('panoptic', 'instances')
_LOADERS = ('test_dataloader', 'val_dataloader', 'train_dataloader')


class Predictor:
    """A model, and what its pipeline does to pictures.

    Args:
        trained: Of :func:`read_model`; its config is changed.
        device: Such as 'cpu' or 'cuda:0'. Defaults to None: a GPU, if there is one.

    Attributes:
        model: In eval mode.
        classes: Names by the numbers in label maps.
        palette: Colours by the numbers in label maps.
        label_ids: Which numbers these are.
        things: The numbers of the classes of which objects are told apart, from 0 on.
        finds_objects: Whether there are objects beside label maps.
        is_zero_shot: Whether its prompts are the handcrafted ones.
        training_size: (height, width) of the photographs that it was trained on; None if unknown.
        digest: Tells this model from others.

    Raises:
        FileNotFoundError: If files of weights are not there, with all that are not.
        ConfigError: If it is no model of prompts, has no pipeline of tests, or trains prompts that
            are not given; or there is no such device.
        CheckpointError: If the prompts are damaged.
        PromptStateError: If they are of another model.
        DatasetError: If the classes of the data set are not those of the prompts.
    """

    def __init__(self, trained: TrainedModel, device: Optional[str] = None) -> None:
        cfg = trained.cfg
        self.device = _find_device(device)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        dataset_cfg = find_dataset(cfg)
        self._loader, self._steps = _split_pipeline(dataset_cfg)
        use_image_encoder(cfg)
        cfg.model.setdefault('test_cfg', {})
        cfg.model.test_cfg.logits = False  # one label a pixel in memory, instead of a score each
        # Each picture is seen once, so that nothing is gained where decoded ones are kept.
        ((cfg.model.get('decode_head') or {}).get('segmenter') or {}).pop('remember_bytes', None)
        self.model = _build_model(trained).to(self.device).eval()
        self.is_zero_shot = trained.prompts is None
        self.label_ids: LabelIds = self.model.label_ids
        dataset = DATASETS.build(dict(dataset_cfg, lazy_init=True))
        check_classes(dataset, self.model.decode_head.class_names, 'test')
        meta = with_rest(dataset.metainfo, self.label_ids)
        self.classes = tuple(str(name) for name in meta['classes'])
        self.palette = [[int(value) for value in colour] for colour in meta['palette']]
        self.things = tuple(getattr(self.model.decode_head, 'things', None) or ())
        self.finds_objects = any(name in self.model.outputs for name in _OBJECTS)
        self.training_size = read_training_size(trained)
        self.digest = _digest(trained, dataset_cfg)

    def load(self, file: Path) -> LoadedPicture:
        """Read a whole picture, as in tests.

        Raises:
            DatasetError: If it cannot be read or is damaged, or is no picture that the model takes.
        """
        sample, _, _ = check_image(self._loader, dict(img_path=str(file)))
        return LoadedPicture(sample['img'])

    def prepare(self, pixels: np.ndarray, name: str) -> Dict[str, Any]:
        """What the pipeline makes of (a part of) a picture.

        Args:
            pixels: (H, W, 3) uint8, blue first.
            name: For errors.

        Raises:
            DatasetError: If it does not pass, such as a picture of very unequal sides.
        """
        size = pixels.shape[:2]
        sample = dict(img=pixels, img_path=name, img_shape=size, ori_shape=size)
        try:
            packed: Dict[str, Any] = self._steps(sample)
        except Exception as error:  # transforms raise almost any type
            raise DatasetError(
                f'image {name!r}: {size[0]} x {size[1]} pixels (height x width) do not pass the '
                f'pipeline of the model ({type(error).__name__}: {error})'
            ) from error
        return packed

    @torch.no_grad()
    def __call__(self, packed: Sequence[Dict[str, Any]]) -> List[SegDataSample]:
        """Predict a batch of what :meth:`prepare` has returned, of one size."""
        found: List[SegDataSample] = self.model.test_step(pseudo_collate(list(packed)))
        return found


def _find_device(device: Optional[str]) -> torch.device:
    try:
        place = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # the latter of a torch without CUDA
        raise ConfigError(f'device {device!r}: expected one of this machine ({error})') from error
    return place


def find_dataset(cfg: Config) -> ConfigDict:
    """The config of the data set that tests, or else validates, on pictures.

    That of embedded samples may also be the one of training, which has the pipeline of tests.
    """
    for key in _LOADERS:
        loader = cfg.get(key) or {}
        for dataset in each_dataset_config(loader.get('dataset')):
            is_embedded = any(find_configs(loader.get('dataset'), 'EmbeddedDataset'))
            if is_embedded or key != 'train_dataloader':
                return dataset
    raise ConfigError(
        f'config {str(cfg.filename)!r}: expected the settings test_dataloader.dataset, whose '
        'pipeline prepares pictures and whose classes are predicted, found none. Add them'
    )


def use_image_encoder(cfg: Config) -> None:
    """Let a model of embedded samples take pictures."""
    model = cfg.model
    if (model.get('backbone') or {}).get('type') != 'PrecomputedFeatures':
        return
    for key in _LOADERS:
        loader = cfg.get(key) or {}
        for embedded in find_configs(loader.get('dataset'), 'EmbeddedDataset'):
            model.backbone = embedded['encoder']
            model.data_preprocessor = embedded['data_preprocessor']
            return
    raise ConfigError(
        f'config {str(cfg.filename)!r}: expected an image encoder, or an EmbeddedDataset that says '
        'which one it was embedded with, found neither'
    )


@safe_checkpoint_loading()
def _build_model(trained: TrainedModel) -> BaseSegmentor:
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='``build_loss``')  # mmseg itself calls it
        model = MODELS.build(trained.cfg.model)
    if not isinstance(model, PromptSegmentor) or model.label_ids is None:
        raise ConfigError(
            f'config {str(trained.config)!r}: expected a model of prompts (PromptSegmentor), found '
            f"{type(model).__name__}. mmseg's inference_model and MMSegInferencer take others"
        )
    if trained.prompts is not None:
        load_checkpoint(model, str(trained.prompts), map_location='cpu', logger='silent')
    elif any(each.requires_grad for each in model.parameters()):
        raise ConfigError(
            f'config {str(trained.config)!r}: expected the file of trained prompts too (--prompts '
            'FILE), found none, and this config trains some. Handcrafted prompts are those of '
            'configs whose names end with _zero-shot'
        )
    return model


def _split_pipeline(dataset: ConfigDict) -> Tuple[Any, Compose]:
    """What reads a picture, and what is done to it then; labels are not read."""
    pipeline = Compose(dataset.get('pipeline') or [])
    kinds = [loaded_kind(step) for step in pipeline.transforms]
    if 'image' not in kinds:
        raise ConfigError(
            f'the pipeline of {dataset.get("type")}: expected a step that reads a picture, such as '
            f'LoadImageFromFile, found {[type(step).__name__ for step in pipeline.transforms]}'
        )
    first = kinds.index('image')
    loader = pipeline.transforms[first]
    pipeline.transforms = [
        step for step, kind in zip(pipeline.transforms[first + 1 :], kinds[first + 1 :]) if not kind
    ]
    return loader, pipeline


def _digest(trained: TrainedModel, dataset: ConfigDict) -> str:
    """What changes whenever label maps may."""
    parts = [
        trained.cfg.model.to_dict(),
        ConfigDict(pipeline=dataset.get('pipeline')).to_dict(),
        None if trained.prompts is None else sha256_of(trained.prompts),
    ]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
