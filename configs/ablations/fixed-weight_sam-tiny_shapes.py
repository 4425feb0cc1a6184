# python tools/train.py configs/ablations/fixed-weight_sam-tiny_shapes.py
# SSPrompt with W = 0.5 on both sides.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(
    decode_head=dict(
        spatial_prompts=dict(fusion=dict(mode='fixed_weight')),
        semantic_prompts=dict(fusion=dict(mode='fixed_weight')),
    )
)
