# SSPrompt on SEEM Focal-T with SEEM's own queries and text tower: nothing but the prompts trains. A
# data set's config adds the number of classes and their names. All parts take one file.
seem = dict(variant='focal_t')

data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size_divisor=32,
    pad_val=0,
    test_cfg=dict(size_divisor=32),
)
model = dict(
    type='PromptSegmentor',
    weights=dict(seem='weights/seem_focalt_v1.pt'),
    data_preprocessor=data_preprocessor,
    backbone=dict(type='SEEMImageEncoder', **seem),
    decode_head=dict(
        type='SSPromptHead',
        segmenter=dict(type='SEEMSegmenter', **seem),
        spatial_prompts=dict(type='SpatialPromptLearner', fusion=dict(mode='learned_weight')),
        semantic_prompts=dict(
            type='SemanticPromptLearner',
            text_encoder=dict(type='SEEMTextEncoder', **seem),
            fusion=dict(mode='learned_weight'),
        ),
        classifier=dict(type='BaseModelClassifier'),
        loss_decode=dict(type='MaskClassificationLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole', logits=False),  # label maps only
)
