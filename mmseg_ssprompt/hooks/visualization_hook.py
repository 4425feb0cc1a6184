"""Draws the prediction of each image that is tested."""

from pathlib import Path
from typing import Any, Optional, Sequence

import mmcv
from mmengine import fileio
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmseg.engine import SegVisualizationHook
from mmseg.structures import SegDataSample

from ..files import replacing
from ..label_ids import LABEL_IDS_KEY, with_rest
from ..outputs import ResultNames, check_outputs, result_file

__all__ = ['PromptVisualizationHook']


@HOOKS.register_module()
class PromptVisualizationHook(SegVisualizationHook):
    """mmseg's hook, which in tests also draws every image into a folder.

    mmseg's own draws every fiftieth batch by default, and names a picture after the image alone.

    Args:
        out_dir: Folder for a picture of each image that is tested, with the label map beside the
            prediction if there is one. A picture keeps the path of its image relative to the
            folder of all images. Defaults to None: as mmseg's.
        **kwargs: As for ``SegVisualizationHook``.
    """

    def __init__(self, out_dir: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_dir = None if out_dir is None else Path(out_dir)
        self._names: Optional[ResultNames] = None

    def before_test(self, runner: Runner) -> None:
        """Name the pictures of all images.

        Raises:
            OutputError: If the folder is one of data.
        """
        if self.out_dir is not None:
            self._names = ResultNames(runner.test_dataloader.dataset)
            check_outputs({'--show-dir': self.out_dir}, self._names.inputs)

    # Not mmseg's ``_after_iter``, which OneDL's mmseg does not have.
    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Sequence[SegDataSample]] = None,
    ) -> None:
        """Draw as mmseg does."""
        _name_rest(outputs or ())
        super().after_val_iter(runner, batch_idx, data_batch, outputs)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Sequence[SegDataSample]] = None,
    ) -> None:
        """Draw the images of a batch: all into the folder if there is one, else as mmseg does."""
        _name_rest(outputs or ())
        if self._names is None or self.out_dir is None:
            super().after_test_iter(runner, batch_idx, data_batch, outputs)
            return
        for output in outputs or ():
            file = result_file(self.out_dir, self._names(output.img_path), '.png')
            content = fileio.get(output.img_path, backend_args=self.backend_args)
            with replacing(file) as temporary:
                Visualizer.get_current_instance().add_datasample(
                    str(output.img_path),
                    mmcv.imfrombytes(content, channel_order='rgb'),
                    data_sample=output,
                    show=self.show,
                    wait_time=self.wait_time,
                    out_file=str(temporary),
                )


def _name_rest(samples: Sequence[SegDataSample]) -> None:
    """Give the visualiser names and colours by the numbers that label maps hold."""
    visualizer = Visualizer.get_current_instance()
    for sample in samples[:1]:
        label_ids = sample.metainfo.get(LABEL_IDS_KEY)
        if label_ids is not None and visualizer.dataset_meta is not None:
            visualizer.dataset_meta = with_rest(visualizer.dataset_meta, label_ids)
