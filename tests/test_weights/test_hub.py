"""Names of a model hub: fetched once, kept in its cache, and what is wrong said in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hub_stand_in import COMMIT, Hub, open_hub, use_hub
from mmseg_ssprompt.extras import MissingExtraError
from mmseg_ssprompt.prompt_files.published import read_published
from mmseg_ssprompt.weights.checkpoint_loader import load_from_local
from mmseg_ssprompt.weights.hub import HubError, fetch_files
from mmseg_ssprompt.weights.prompt_places import find_prompt_file
from published_folders import edit_config, publish_model

pytest.importorskip('huggingface_hub')
FILES = ('config.json', 'prompts.safetensors')


@pytest.fixture(scope='module')
def server():
    with open_hub() as hub:
        yield hub


@pytest.fixture
def hub(server, tmp_path, monkeypatch) -> Hub:
    """A hub with ``user/name``, which has two files that nobody looks into."""
    repository = tmp_path / 'repository'
    repository.mkdir()
    for name in (*FILES, 'secret.bin', 'config.py'):
        (repository / name).write_text(f'content of {name}')
    server.repositories = {'user/name': repository}
    server.statuses, server.asked, server.commit = {}, [], COMMIT
    use_hub(monkeypatch, server.endpoint, tmp_path / 'cache')
    return server


def fetched(hub: Hub) -> list:
    return [path.rpartition('/')[2] for method, path in hub.asked if method == 'GET'][-9:]


@pytest.mark.parametrize(
    'name', ['hf://user/name', 'hf://user/name@v1', f'hf://user/name@{COMMIT}']
)
def test_only_what_is_needed_is_fetched_and_only_once(hub, name, tmp_path):
    folder = fetch_files(name, FILES)
    assert [(folder / file).read_text() for file in FILES] == [f'content of {f}' for f in FILES]
    assert tmp_path / 'cache' in folder.parents and folder.name == COMMIT
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    got = [each for each in fetched(hub) if each != 'agent-harnesses']
    assert got == list(FILES)
    assert fetch_files(name, FILES) == folder
    assert [each for each in fetched(hub) if each != 'agent-harnesses'] == got


def test_all_files_are_of_one_revision(hub):
    fetch_files('hf://user/name', FILES)
    asked = [path for _, path in hub.asked if 'prompts' in path]
    assert asked and all(f'/resolve/{COMMIT}/' in path for path in asked)


def test_a_new_revision_is_fetched(hub, tmp_path):
    fetch_files('hf://user/name', FILES)
    hub.commit = 'beef' * 10
    (tmp_path / 'repository' / FILES[0]).write_text('new')
    folder = fetch_files('hf://user/name', FILES)
    assert folder.name == 'beef' * 10 and (folder / FILES[0]).read_text() == 'new'


@pytest.mark.parametrize('how', ['offline', 'no network', 'the hub is down', 'gone'])
def test_what_is_in_the_cache_serves_without_the_hub(hub, monkeypatch, tmp_path, how):
    folder = fetch_files('hf://user/name', FILES)
    if how == 'the hub is down':
        hub.statuses['user/name'] = 500
    elif how == 'gone':
        hub.repositories.clear()
    else:
        place = 'http://127.0.0.1:9' if how == 'no network' else hub.endpoint
        use_hub(monkeypatch, place, tmp_path / 'cache', offline=how == 'offline')
    hub.asked.clear()
    assert fetch_files('hf://user/name', FILES) == folder
    assert not (how == 'offline' and hub.asked)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('hf://user/none', 'found no such repository at http.* log in with `hf auth login`'),
        ('hf://user/private', 'found no such repository .* if it is private, log in'),
        ('hf://user/gated', 'is gated: expected that you have access'),
        ('hf://user/name@v9', 'expected a branch, tag or commit of the repository behind @'),
        ('hf://user/down', r'config\.json cannot be fetched from .*500'),
        ('hf://user/empty', r'publish` has written, found no config\.json in the repository'),
        ('hf://user', 'expected hf://USER/NAME or hf://USER/NAME@REVISION'),
        ('hf://user/name/file', 'expected hf://USER/NAME or'),
        ('hf://user/name@', 'expected hf://USER/NAME or'),
        ('hf://user/name@../../x', 'expected hf://USER/NAME or'),
        ('hf://../..', 'expected the name of a repository'),
        ('hf://user/a b', 'expected hf://USER/NAME or'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(hub, tmp_path, name, text):
    (tmp_path / 'empty').mkdir()
    hub.repositories['user/empty'] = tmp_path / 'empty'
    hub.statuses.update({'user/private': 401, 'user/gated': 403, 'user/down': 500})
    with pytest.raises(HubError, match=text) as info:
        fetch_files(name, FILES)
    assert name in str(info.value) and len(str(info.value).splitlines()) == 1


@pytest.mark.parametrize('offline', [True, False])
def test_without_network_and_cache(hub, monkeypatch, tmp_path, offline):
    use_hub(monkeypatch, 'http://127.0.0.1:9', tmp_path / 'cache', offline)
    text = 'since HF_HUB_OFFLINE is set' if offline else 'cannot be fetched from http://127.0.0.1:9'
    with pytest.raises(HubError, match=text):
        fetch_files('hf://user/name', FILES)


def test_without_the_hub_s_library(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(MissingExtraError, match=r'pip install "huggingface_hub>=.*\[hub\]') as info:
        fetch_files('hf://user/name', FILES)
    assert len(str(info.value).splitlines()) == 1


# What was published


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> Path:
    return publish_model(tmp_path_factory.mktemp('made'))


def test_a_published_folder_on_the_hub(hub, made, tmp_path):
    hub.repositories['user/prompts'] = made
    name = 'hf://user/prompts'
    found = read_published(name)
    assert found.cfg.to_dict() == read_published(made).cfg.to_dict()
    assert find_prompt_file(name) == found.prompts
    assert 'state_dict' in load_from_local(name, 'cpu')
    assert (
        read_published(found.folder).prompts == found.prompts
    )  # links to blobs are the cache's own


def test_foreign_and_damaged_ones_on_the_hub(hub, made, tmp_path):
    folder = hub.repositories['user/bad'] = shutil.copytree(made, tmp_path / 'bad')
    edit_config(folder, lambda content: content['model']['backbone'].update(type='os.mkdir'))
    with pytest.raises(ValueError, match="model.backbone: type: expected .* found 'os.mkdir'"):
        read_published('hf://user/bad')
    with pytest.raises(ValueError, match='expected JSON'):
        read_published('hf://user/name')
    (folder / 'config.json').unlink()
    (folder / 'config.py').write_text('raise SystemExit("it was run")')
    hub.commit = 'beef' * 10
    with pytest.raises(HubError, match=r'found no config\.json in the repository'):
        read_published('hf://user/bad')


@pytest.mark.slow
@pytest.mark.process
def test_by_the_variables_of_the_environment(hub, made, tmp_path):
    hub.repositories['user/prompts'] = made
    environment = dict(os.environ, HF_ENDPOINT=hub.endpoint, HF_HOME=str(tmp_path / 'home'))
    environment.pop('HF_HUB_CACHE', None)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
        command = [sys.executable, '-m', 'mmseg_ssprompt', *arguments]
        own = dict(environment, **variables)
        return subprocess.run(command, env=own, capture_output=True, text=True, timeout=300)

    inspect = ('prompts', 'inspect', 'hf://user/prompts')
    done = run(*inspect)
    assert done.returncode == 0, done.stderr
    assert 'classes: 4: sky, tree, road, car' in done.stdout
    assert (tmp_path / 'home' / 'hub').is_dir()
    assert run(*inspect, HF_HUB_OFFLINE='1', HF_ENDPOINT='http://127.0.0.1:9').returncode == 0
    done = run('prompts', 'inspect', 'hf://user/none')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("mmseg-ssprompt prompts: 'hf://user/none'")
    assert 'Traceback' not in done.stderr
