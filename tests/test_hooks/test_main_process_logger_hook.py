"""The figures of a test are written by one process."""

import json
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger

from mmseg_ssprompt.hooks import MainProcessLoggerHook, mmengine_fixes


@pytest.mark.parametrize('is_main', [True, False])
def test_only_the_main_process_writes(tmp_path, monkeypatch, is_main):
    monkeypatch.setattr(mmengine_fixes, 'is_main_process', lambda: is_main)
    processor = SimpleNamespace(get_log_after_epoch=lambda *args, **kwargs: ({'mIoU': 0.5}, 'text'))
    runner = SimpleNamespace(
        log_processor=processor,
        test_dataloader=[],
        logger=MMLogger.get_current_instance(),
        log_dir=str(tmp_path),
    )
    hook = MainProcessLoggerHook()
    hook.json_log_path = 'figures.json'
    hook.after_test_epoch(runner, {'mIoU': 0.5})
    written = list(tmp_path.iterdir())
    assert [file.name for file in written] == (['figures.json'] if is_main else [])
    if is_main:
        assert json.loads(written[0].read_text()) == {'mIoU': 0.5}
