"""The ways into the docs are walked in empty folders, as they are written."""

import json
import subprocess

import pytest

from dev.walk_ways import PAGES, RESULTS, WAYS, make_script, walk

PAGE = """
```bash
echo one > a
```

Text.

```python
# b.py
print('two')
```

```python
# b.py, below what is there
print('three')
```

<!-- not walked: it is yours -->

```bash
exit 3
```

```text
exit 4
```

```bash
python3 b.py >> a
```
"""


def test_a_page_is_a_script(tmp_path):
    subprocess.run(['bash', '-c', make_script(PAGE)], cwd=tmp_path, check=True)
    assert (tmp_path / 'a').read_text().split() == ['one', 'two', 'three']


def test_a_command_that_fails_ends_the_way(tmp_path):
    script = make_script('```bash\nfalse\n```\n\n```bash\necho one > a\n```\n')
    assert subprocess.run(['bash', '-c', script], cwd=tmp_path).returncode == 1
    assert not (tmp_path / 'a').exists()


def test_python_that_is_no_file_is_refused():
    with pytest.raises(ValueError, match=r"expected \"# NAME.py\" .* found 'import torch"):
        make_script('```python\nimport torch\n```\n')


def test_every_page_is_walked_and_says_where_to_go_on():
    assert {page.stem for page in PAGES.glob('*.md')} == set(WAYS)
    assert set(json.loads(RESULTS.read_text(encoding='utf-8'))) == set(WAYS)
    for page in PAGES.glob('*.md'):
        text = page.read_text(encoding='utf-8')
        assert text.startswith('# I ')
        assert '\nYou will have ' in text
        assert '## Where next\n' in text
        assert make_script(text).count('mmseg-ssprompt ') >= 3


def figures_in(value):
    if isinstance(value, dict):
        return [figure for entry in value.values() for figure in figures_in(entry)]
    return [value] if isinstance(value, (int, float)) else []


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize('name', WAYS)
def test_a_way_leads_to_its_result(name, tmp_path):
    """Digits are those of the machine; what the page says of them holds."""
    stored = json.loads(RESULTS.read_text(encoding='utf-8'))[name]
    found = walk(name, tmp_path)
    for entry in (stored, found):
        entry.pop('minutes')
        entry.pop('versions', None)
        entry.pop('code', None)
    assert list(found) == list(stored)
    assert figures_in(found) == pytest.approx(figures_in(stored), abs=4)
