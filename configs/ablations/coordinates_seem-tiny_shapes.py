# python tools/train.py configs/ablations/coordinates_seem-tiny_shapes.py
# Vanilla spatial prompt learning: 2-D coordinates of clicks; the class names are handcrafted.
_base_ = ['../ssprompt_seem-tiny_shapes.py']

model = dict(
    decode_head=dict(
        spatial_prompts=dict(_delete_=True, type='CoordinatePromptLearner', num_prompts=64),
        semantic_prompts=dict(fusion=dict(mode='default_only')),
    )
)
