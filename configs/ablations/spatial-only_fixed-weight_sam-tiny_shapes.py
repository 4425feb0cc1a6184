# python tools/train.py configs/ablations/spatial-only_fixed-weight_sam-tiny_shapes.py
# SpaPrompt with W = 0.5; the class names are handcrafted.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(
    decode_head=dict(
        spatial_prompts=dict(fusion=dict(mode='fixed_weight')),
        semantic_prompts=dict(fusion=dict(mode='default_only')),
    )
)
