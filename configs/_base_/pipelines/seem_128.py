# What takes the place of the pipelines of semantic_96.py: scenes of 96 x 96 become 128 x 128, on
# which seem-tiny was pre-trained.
seem_resize = dict(type='SEEMResize', min_size=128, max_size=128)
seem_train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    seem_resize,
    dict(type='PackSegInputs'),
]
seem_test_pipeline = [
    dict(type='LoadImageFromFile'),
    seem_resize,
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
seem_tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [seem_resize],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
