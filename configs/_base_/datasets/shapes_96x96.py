# ShapesWorld: its files are drawn when they are read, so nothing has to be prepared.
_base_ = ['../pipelines/semantic_96.py']

dataset_type = 'ShapesWorldDataset'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type=dataset_type, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    _delete_=True,
    batch_size=20,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, split='val', pipeline=_base_.test_pipeline),
)
test_dataloader = dict(
    _delete_=True,
    batch_size=20,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, split='test', pipeline=_base_.test_pipeline),
)
val_evaluator = dict(type='GroupedIoUMetric')
test_evaluator = val_evaluator
