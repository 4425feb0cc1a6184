# What takes the place of the pipelines of semantic_1024.py: SEEM's size for COCO. The shortest side
# of an image becomes 800 pixels, unless the longest gets larger than 1333.
seem_resize = dict(type='SEEMResize', min_size=800, max_size=1333)
seem_train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    seem_resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
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
