"""Peaks and seconds are those of what is run."""

import sys
import time

import pytest
import torch

import warm_processes
from mmseg_ssprompt.analysis.complexity.measuring import describe_machine, measure_seconds

PEAK = """
import torch
from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
held = torch.ones(8_000_000)
run = lambda: torch.ones(64_000_000, dtype=torch.uint8)
print(measure_peak(run, torch.device('cpu')), len(held))
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')
def test_peak_is_above_what_was_there_before(tmp_path):
    """In a process of its own: what others freed in this one could be taken again."""
    (tmp_path / 'peak.py').write_text(PEAK)
    done = warm_processes.run([sys.executable, 'peak.py'], cwd=tmp_path)
    assert float(done.stdout.split()[-2]) == pytest.approx(0.064, rel=0.1)


def test_seconds():
    assert measure_seconds(lambda: time.sleep(0.05), torch.device('cpu')) >= 0.05


def test_the_machine_is_described():
    machine = describe_machine('cpu')
    assert machine['torch'] == torch.__version__ and machine['device'] == 'CPU'
    assert machine['threads'] == torch.get_num_threads() and machine['cores'] > 0
