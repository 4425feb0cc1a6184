"""Checkpoints behind URLs are refused before anything is fetched."""

import socket

import pytest
from mmengine.runner import CheckpointLoader

from mmseg_ssprompt.weights.state_dicts import CheckpointError
from toy_training import build_toy

URLS = (
    'http://example.org/a.pth',
    'https://example.org/a.safetensors',
    'pavi://a',
    's3://bucket/a.pth',
    'cluster:s3://bucket/a.pth',
    'petrel://bucket/a.pth',
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError('the network was asked')

    monkeypatch.setattr(socket, 'getaddrinfo', fail)


@pytest.mark.parametrize('url', URLS)
def test_urls_are_refused(url):
    with pytest.raises(CheckpointError, match='expected the path of a local file') as caught:
        CheckpointLoader.load_checkpoint(url, 'cpu')
    assert repr(url) in str(caught.value)


def test_a_training_does_not_begin_from_a_url(tmp_path):
    runner = build_toy(tmp_path, load_from=URLS[1])
    with pytest.raises(CheckpointError, match='Download it'):
        runner.train()
    assert runner.iter == 0
