# The pipelines and data loaders of semantic_1024.py for a data set with objects. In training an
# object of fewer than 16 pixels does not count: that is one pixel of SAM's masks.
_base_ = ['./semantic_1024.py']

image_size = (1024, 1024)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    dict(type='ResizeWithLabels', scale=image_size, keep_ratio=True, backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegmentInputs', min_pixels=16),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True, backend='pillow'),
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs', min_pixels=0),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
