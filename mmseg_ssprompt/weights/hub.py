"""Files of a repository of a model hub: fetched once, and kept where the hub's library keeps them.

The library (``huggingface_hub``, the extra ``hub``) knows the hub's address (``HF_ENDPOINT``), its
cache (``HF_HOME``), the token of private repositories, and whether the network may be used
(``HF_HUB_OFFLINE``).
"""

import importlib
import re
from pathlib import Path
from typing import Any, Optional, Sequence

from ..extras import import_extra
from .state_dicts import CheckpointError

__all__ = ['HUB_SCHEME', 'HubError', 'fetch_files', 'is_hub_name']

#: What the name of a repository begins with.
HUB_SCHEME = 'hf://'
_NAME = re.compile(
    rf'{HUB_SCHEME}(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>(?!.*\.\.)[\w./-]+))?'
)


class HubError(CheckpointError):
    """A repository from which files cannot be had."""


def is_hub_name(name: Any) -> bool:
    """Whether a name is that of a repository of the hub, and not a path."""
    return str(name).startswith(HUB_SCHEME)


def fetch_files(name: str, files: Sequence[str]) -> Path:
    """Fetch some files of a repository, all of one revision; nothing else of it is fetched.

    What the hub's cache has is not fetched again; without network it has to have them.

    Args:
        name: ``hf://USER/NAME`` or ``hf://USER/NAME@REVISION``: a branch, a tag or a commit.
        files: Their names, which lie in no folder of the repository.

    Returns:
        The folder of the cache in which they are.

    Raises:
        MissingExtraError: If ``huggingface_hub`` is not installed.
        HubError: If the name has another form, there is no such repository, revision or file, or
            it cannot be reached or is not for everybody; in one line, with what to do.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise HubError(
            f'{name!r}: expected {HUB_SCHEME}USER/NAME or {HUB_SCHEME}USER/NAME@REVISION, found '
            'another form'
        )
    hub = import_extra('huggingface_hub', f'prompts of {name!r}')
    for module in ('constants', 'errors'):  # which older versions do not import
        importlib.import_module(f'{hub.__name__}.{module}')
    folder, revision = Path(), parts['revision']
    for file in files:
        try:
            found = _fetch(hub, parts['repository'], file, revision)
        except Exception as error:  # of the hub's library, and of the one that it connects with
            raise HubError(_describe(name, file, error, hub)) from error
        folder = Path(found).parent
        revision = folder.name  # the commit: the next file is of the same one
    return folder


def _fetch(hub: Any, repository: str, file: str, revision: Optional[str]) -> str:
    """The path of a file in the hub's cache."""
    if not hub.constants.HF_HUB_OFFLINE:
        try:  # without the half minute in which a download tries again to connect
            hub.get_hf_file_metadata(hub.hf_hub_url(repository, file, revision=revision))
        except (hub.errors.EntryNotFoundError, hub.errors.RevisionNotFoundError):
            raise  # an older one in the cache is not what was asked for
        except Exception:
            known = hub.try_to_load_from_cache(repository, file, revision=revision)
            if isinstance(known, str):
                return known
            raise
    return str(hub.hf_hub_download(repository, file, revision=revision))


def _describe(name: str, file: str, error: Exception, hub: Any) -> str:
    """What is wrong, in one line."""
    errors, endpoint, cache = hub.errors, hub.constants.ENDPOINT, hub.constants.HF_HUB_CACHE
    status = _find_status(error)
    if isinstance(error, errors.GatedRepoError):
        return (
            f'{name!r} is gated: expected that you have access. Ask for it at {endpoint}, and log '
            'in with `hf auth login`'
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f'{name!r}: expected a branch, tag or commit of the repository behind @, found none of '
            f'that name at {endpoint}'
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        return (
            f'{name!r}: found no such repository at {endpoint} that you have access to. Look at '
            'the spelling; if it is private, log in with `hf auth login`, or set HF_TOKEN'
        )
    if hub.constants.HF_HUB_OFFLINE and isinstance(error, errors.LocalEntryNotFoundError):
        return (
            f'{name!r}: expected {file} in the cache {cache!r}, since HF_HUB_OFFLINE is set, found '
            'none. Fetch it once with network'
        )
    if isinstance(error, errors.EntryNotFoundError):
        return (
            f'{name!r}: expected prompts that `mmseg-ssprompt publish` has written, found no '
            f'{file} in the repository'
        )
    if isinstance(error, errors.HFValidationError):
        return f'{name!r}: expected the name of a repository ({_first_line(error)})'
    return (
        f'{name!r}: {file} cannot be fetched from {endpoint}, and is not in the cache {cache!r} '
        f'({_first_line(error)})'
    )


def _find_status(error: Exception) -> Optional[int]:
    """The status of HTTP that an error is about; None if it is about another thing."""
    return getattr(getattr(error, 'response', None), 'status_code', None)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or ['']
    return f'{type(error).__name__}: {lines[0][:200]}'
