# SSPrompt on seem-tiny, which comes with the package.
_base_ = ['./ssprompt_seem.py']

seem = dict(variant='tiny')
model = dict(
    weights=dict(seem='mmseg_ssprompt://seem-tiny_shapes.pth'),
    backbone=seem,
    decode_head=dict(
        segmenter=seem,
        semantic_prompts=dict(text_encoder=seem),
        loss_decode=dict(num_points=576),
    ),
)
