# python tools/train.py configs/ablations/semantic-only_learned-only_sam-tiny_shapes.py
# SemPrompt with W = 1, without the default prompts; the points are handcrafted.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(
    decode_head=dict(
        spatial_prompts=dict(fusion=dict(mode='default_only')),
        semantic_prompts=dict(fusion=dict(mode='learned_only')),
    )
)
