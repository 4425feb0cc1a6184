"""What prompts make of a picture, to be looked at: ``mmseg-ssprompt studio``, without its page.

``page`` and ``server`` alone need gradio.
"""

from .look import Look, StudioError
from .opened import PictureStore, open_picture
from .session import StudioSession
from .studio_model import StudioModel

__all__ = ['Look', 'PictureStore', 'StudioError', 'StudioModel', 'StudioSession', 'open_picture']
