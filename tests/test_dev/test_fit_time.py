"""How many steps a fit has taken, from what its trainings have left."""

from dev.fit_time import count_steps
from mmseg_ssprompt.files import write_json


def test_steps_of_all_trainings_of_an_arm(tmp_path):
    for arm, run, steps in (
        ('ssprompt', 'rate_0.01', 3),
        ('ssprompt', 'final', 7),
        ('projection', 'final', 2),
    ):
        (tmp_path / 'runs' / arm / run).mkdir(parents=True)
        write_json(dict(losses=[1.0] * steps), tmp_path / 'runs' / arm / run / 'result.json')
    assert count_steps(tmp_path) == dict(ssprompt=10, projection=2)
