"""What several runners of one process need beside mmengine's own means."""

import io
import logging
from types import SimpleNamespace

from mmengine.device import get_device
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer

from mmseg_ssprompt.hooks.mmengine_fixes import close_runner, remove_log_stream, runners_on

KINDS = (MMLogger, MessageHub, SegLocalVisualizer, Visualizer)


def test_runners_take_the_device():
    before = get_device()
    with runners_on('meta'):
        assert get_device() == 'meta'
        with runners_on(None):
            assert get_device() == 'meta'
    assert get_device() == before


def test_a_closed_runner_is_forgotten(tmp_path):
    before = [dict(kind._instance_dict) for kind in KINDS]
    runner = SimpleNamespace(
        logger=MMLogger.get_instance('run_1', log_file=str(tmp_path / 'log')),
        message_hub=MessageHub.get_instance('run_2'),
        visualizer=SegLocalVisualizer.get_instance('run_3'),
    )
    assert all(len(kind._instance_dict) > len(old) for kind, old in zip(KINDS, before))
    (file,) = (each for each in runner.logger.handlers if isinstance(each, logging.FileHandler))
    close_runner(runner)
    assert [dict(kind._instance_dict) for kind in KINDS] == before
    assert file.stream is None  # closed
    assert not runner.logger.handlers


def test_loggers_leave_a_stream():
    stream = io.StringIO()
    logger = MMLogger.get_instance('of_a_stream')
    kept = logger.handlers[:]
    logger.addHandler(logging.StreamHandler(stream))
    remove_log_stream(stream)
    assert logger.handlers == kept
