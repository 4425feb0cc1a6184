# SSPrompt on sam-tiny, which comes with the package together with a text tower and a projection
# from mask tokens to the text space.
_base_ = ['./ssprompt_sam_vit-b.py']

sam = dict(variant='tiny')
input_size = (96, 96)

data_preprocessor = dict(size=input_size, test_cfg=dict(size=input_size))
model = dict(
    weights=dict(
        sam='mmseg_ssprompt://sam-tiny_shapes.pth', clip='mmseg_ssprompt://clip-tiny_shapes.pth'
    ),
    data_preprocessor=data_preprocessor,
    backbone=sam,
    decode_head=dict(
        segmenter=sam,
        spatial_prompts=dict(num_prompts=64),
        semantic_prompts=dict(text_encoder=dict(variant='tiny')),
        classifier=dict(checkpoint='mmseg_ssprompt://projection-tiny_shapes.pth'),
        loss_decode=dict(num_points=576),
    ),
)
