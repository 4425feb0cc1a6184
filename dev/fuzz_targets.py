"""What ``fuzz_readers.py`` damages: files that are read, and what lies behind their checksums."""

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Tuple, Type

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mmseg_ssprompt.cache import CacheError, EmbeddedSample, EmbeddingCache, embedding_cache
from mmseg_ssprompt.cache.embedding_cache import INDEX, fill_cache, finish_cache
from mmseg_ssprompt.prompt_files.prompt_file import get_metadata, write_prompts
from mmseg_ssprompt.weights.checkpoint_loader import load_from_local
from mmseg_ssprompt.weights.safetensors_file import _sha256, read_safetensors
from mmseg_ssprompt.weights.state_dicts import CheckpointError, read_checkpoint

__all__ = ['TARGETS', 'Target']

KEY = dict(format=2, views=1)
PTH, SAFE, SHARD = 'a.pth', 'a.safetensors', '000000.safetensors'


class Target(NamedTuple):
    """A reader, and what it reads.

    Attributes:
        make: Writes valid files into an empty folder.
        take: Returns what of these is to be damaged.
        put: Writes it back, damaged, with checksums that fit where ``take`` left them out.
        read: Reads the files.
        errors: What that may raise.
    """

    make: Callable[[Path], Any]
    take: Callable[[Path], bytes]
    put: Callable[[Path, bytes], Any]
    read: Callable[[Path], Any]
    errors: Tuple[Type[Exception], ...]


def make_prompts(folder: Path) -> None:
    """Prompts as they are saved, with tensors of several types."""
    tensors = dict(learned=torch.randn(3, 2, 4), count=torch.arange(3), half=torch.ones(2).half())
    for name in (PTH, SAFE):
        write_prompts(tensors, dict(iter=3, cfg='model = dict()', size=(2, 3)), folder / name)
    (folder / 'whole').write_bytes((folder / SAFE).read_bytes())


def read_prompts(name: str) -> Callable[[Path], None]:
    """Reads them as a runner does, and what they say of themselves as the tools do."""

    def read(folder: Path) -> None:
        content = load_from_local(str(folder / name), 'cpu')
        state_dict = content.get('state_dict')
        if isinstance(state_dict, dict):
            get_metadata(state_dict, name)

    return read


def take_pickle(folder: Path) -> bytes:
    """What torch unpickles, without the bytes of the tensors."""
    with zipfile.ZipFile(folder / PTH) as archive:
        return archive.read('archive/data.pkl')


def put_pickle(folder: Path, content: bytes) -> None:
    with zipfile.ZipFile(folder / PTH) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    records['archive/data.pkl'] = content
    with zipfile.ZipFile(folder / PTH, 'w') as archive:
        for name, record in records.items():
            archive.writestr(name, record)


def split(content: bytes) -> Tuple[bytes, bytes]:
    """The JSON of a safetensors file, and the bytes of its tensors."""
    end = 8 + int.from_bytes(content[:8], 'little')
    return content[8:end], content[end:]


def take_header(folder: Path) -> bytes:
    return split((folder / SAFE).read_bytes())[0]


def put_header(folder: Path, header: bytes) -> None:
    _, tensors = split((folder / 'whole').read_bytes())
    (folder / SAFE).write_bytes(len(header).to_bytes(8, 'little') + header + tensors)


def take_texts(folder: Path) -> bytes:
    """What lies beside the tensors."""
    return json.loads(take_header(folder))['__metadata__']['mmseg_ssprompt'].encode()


def put_texts(folder: Path, content: bytes) -> None:
    text = content.decode('utf-8', errors='replace')
    tensors = {key: tensor.clone() for key, tensor in read_safetensors(folder / 'whole')[0].items()}
    texts = dict(mmseg_ssprompt=text, sha256=_sha256(tensors, text))
    (folder / SAFE).write_bytes(save(tensors, metadata=texts))


def make_cache(folder: Path) -> None:
    """Two embedded samples."""
    files = dict(img_path=dict(bytes=3, sha256='0'))
    samples = [
        EmbeddedSample(
            dict(embedding=torch.randn(4, 2, 2)),
            torch.ones(1, 4, 4).byte(),
            dict(a=(i, {1: 2})),
        )
        for i in range(2)
    ]
    fill_cache(folder, KEY, range(2), samples.__getitem__, files=lambda number: files)
    (folder / 'whole').write_bytes((folder / SHARD).read_bytes())
    finish_cache(folder, KEY, dict(classes=('a',)), 2)


def read_cache(folder: Path) -> None:
    """Opens a cache, and reads what the index says that is there."""
    # A file that is damaged while it is mapped kills the process.
    embedding_cache._open.cache_clear()
    cache = EmbeddingCache(folder, KEY)
    for number in range(min(len(cache), 20)):
        cache[number]


def complete_cache(folder: Path) -> None:
    """Computes what is damaged, as the tool does, and then finds it whole."""

    def embed(_: int) -> EmbeddedSample:
        return EmbeddedSample(dict(embedding=torch.zeros(4, 2, 2)), None, {})

    fill_cache(folder, KEY, range(2), embed)
    finish_cache(folder, KEY, {}, 2)
    read_cache(folder)


def put_shard(folder: Path, content: bytes) -> None:
    """With the size that the index says."""
    (folder / SHARD).write_bytes(content)
    index = json.loads((folder / INDEX).read_bytes())
    index['sizes'][0] = len(content)
    (folder / INDEX).write_text(json.dumps(index))


def take_shard_header(folder: Path) -> bytes:
    """What is known of the samples of a shard."""
    header, _ = split((folder / SHARD).read_bytes())
    return json.loads(header)['__metadata__']['shard'].encode()


def put_shard_header(folder: Path, content: bytes) -> None:
    """With checksums that fit, as far as there are such samples."""
    header, tensors = split((folder / 'whole').read_bytes())
    text = content.decode('utf-8', errors='replace')
    nonsense = (ValueError, RecursionError, TypeError, KeyError, AttributeError, SafetensorError)
    with contextlib.suppress(*nonsense):
        known = json.loads(text)
        with safe_open(str(folder / 'whole'), framework='pt') as file:
            for position, record in enumerate(known['samples']):
                record.pop('crc32', None)
                found = {n: file.get_tensor(f'{position}.{n}') for n in record['tensors']}
                record['crc32'] = embedding_cache._checksum(found, record)
        text = json.dumps(known, sort_keys=True)
    header = json.dumps({**json.loads(header), '__metadata__': dict(shard=text)}).encode()
    put_shard(folder, len(header).to_bytes(8, 'little') + header + tensors)


def whole(name: str) -> Dict[str, Callable]:
    """``take`` and ``put`` of a file as it is."""
    return dict(
        take=lambda folder: (folder / name).read_bytes(),
        put=lambda folder, content: (folder / name).write_bytes(content),
    )


CHECKPOINT = dict(make=make_prompts, errors=(CheckpointError,))
CACHE = dict(make=make_cache, errors=(CacheError,))

#: By name; those with a hyphen have checksums that fit.
TARGETS: Dict[str, Target] = {
    'checkpoint': Target(**CHECKPOINT, **whole(PTH), read=read_prompts(PTH)),
    'checkpoint-pickle': Target(
        **CHECKPOINT, take=take_pickle, put=put_pickle, read=read_prompts(PTH)
    ),
    'weights': Target(
        **CHECKPOINT, **whole(PTH), read=lambda folder: read_checkpoint(folder / PTH)
    ),
    'safetensors': Target(**CHECKPOINT, **whole(SAFE), read=read_prompts(SAFE)),
    'safetensors-header': Target(
        **CHECKPOINT, take=take_header, put=put_header, read=read_prompts(SAFE)
    ),
    'safetensors-texts': Target(
        **CHECKPOINT, take=take_texts, put=put_texts, read=read_prompts(SAFE)
    ),
    'index': Target(**CACHE, **whole(INDEX), read=read_cache),
    'shard': Target(**CACHE, **whole(SHARD), read=read_cache),
    'shard-completed': Target(**CACHE, **whole(SHARD), read=complete_cache),
    'shard-sealed': Target(**CACHE, take=whole(SHARD)['take'], put=put_shard, read=read_cache),
    'shard-header': Target(**CACHE, take=take_shard_header, put=put_shard_header, read=read_cache),
}
