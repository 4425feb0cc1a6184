# SSPrompt on sam-tiny, which comes with the package together with a text tower and a projection
# from mask tokens to the text space.
sam = dict(variant='tiny', checkpoint='mmseg_ssprompt://sam-tiny_shapes.pth')
input_size = (96, 96)

data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=input_size,
    pad_val=0,
    seg_pad_val=255,
    test_cfg=dict(size=input_size),
)
model = dict(
    type='PromptSegmentor',
    data_preprocessor=data_preprocessor,
    backbone=dict(type='SAMImageEncoder', **sam),
    decode_head=dict(
        type='SSPromptHead',
        prompt_encoder=dict(type='SAMPromptEncoder', **sam),
        mask_decoder=dict(type='SAMMaskDecoder', decoding='joint', **sam),
        spatial_prompts=dict(
            type='SpatialPromptLearner', num_prompts=64, fusion=dict(mode='learned_weight')
        ),
        semantic_prompts=dict(
            type='SemanticPromptLearner',
            text_encoder=dict(
                type='CLIPClassNameEncoder',
                variant='tiny',
                checkpoint='mmseg_ssprompt://clip-tiny_shapes.pth',
            ),
            fusion=dict(mode='learned_weight'),
        ),
        classifier=dict(
            type='TokenClassifier', checkpoint='mmseg_ssprompt://projection-tiny_shapes.pth'
        ),
        loss_decode=dict(type='MaskClassificationLoss', num_points=2304),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
