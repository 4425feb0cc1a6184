"""Label maps of pictures of one's own: what ``mmseg-ssprompt predict`` and ``predict`` do."""

from .predicting import Predictions, predict
from .prediction import FoundObject, Prediction

__all__ = ['FoundObject', 'Prediction', 'Predictions', 'predict']
