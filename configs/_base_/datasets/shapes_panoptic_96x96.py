# ShapesWorld with its things and its stuff as segments; see shapes_96x96.py.
_base_ = ['./shapes_96x96.py']

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs', min_pixels=16),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs', min_pixels=0),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(type='PanopticMetric')
test_evaluator = val_evaluator
