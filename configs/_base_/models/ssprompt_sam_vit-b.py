# SSPrompt on SAM ViT-B with the text tower of CLIP ViT-B/16. A data set's config adds the
# number of classes and their names. Every part takes the files that `weights` names.
sam = dict(variant='vit_b')
input_size = (1024, 1024)

data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=input_size,
    pad_val=0,
    test_cfg=dict(size=input_size),
)
model = dict(
    type='PromptSegmentor',
    weights=dict(sam='weights/sam_vit_b_01ec64.pth', clip='weights/ViT-B-16.pt'),
    data_preprocessor=data_preprocessor,
    backbone=dict(type='SAMImageEncoder', **sam),
    decode_head=dict(
        type='SSPromptHead',
        segmenter=dict(type='SAMSegmenter', decoding='joint', **sam),
        spatial_prompts=dict(
            type='SpatialPromptLearner', num_prompts=100, fusion=dict(mode='learned_weight')
        ),
        semantic_prompts=dict(
            type='SemanticPromptLearner',
            text_encoder=dict(type='CLIPClassNameEncoder', variant='ViT-B/16'),
            fusion=dict(mode='learned_weight'),
        ),
        classifier=dict(type='TokenClassifier'),
        loss_decode=dict(type='MaskClassificationLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole', logits=False),  # label maps only
)
