# python tools/train.py configs/ablations/learned-only_sam-tiny_shapes.py
# SSPrompt with W = 1 on both sides, without the default prompts.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(
    decode_head=dict(
        spatial_prompts=dict(fusion=dict(mode='learned_only')),
        semantic_prompts=dict(fusion=dict(mode='learned_only')),
    )
)
