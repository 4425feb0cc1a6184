"""Label maps of pictures of one's own: what ``mmseg-ssprompt predict`` and ``predict`` do."""

from .picture_stream import Predictions
from .predicting import predict
from .prediction import FoundObject, Prediction

__all__ = ['FoundObject', 'Prediction', 'Predictions', 'predict']
