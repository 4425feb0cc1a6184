# The pipelines of seem_800x1333.py for a data set with objects.
_base_ = ['./seem_800x1333.py']

seem_train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    _base_.seem_resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegmentInputs', min_pixels=16),
]
seem_test_pipeline = [
    dict(type='LoadImageFromFile'),
    _base_.seem_resize,
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs', min_pixels=0),
]
