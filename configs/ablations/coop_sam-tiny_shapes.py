# python tools/train.py configs/ablations/coop_sam-tiny_shapes.py
# CoOp: one context for all classes; the points are handcrafted.
# Four context tokens from words: sam-tiny's text tower has seen no text as long as 16 and more.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(
    decode_head=dict(
        spatial_prompts=dict(fusion=dict(mode='default_only')),
        semantic_prompts=dict(
            _delete_=True,
            type='ContextPromptLearner',
            text_encoder={{_base_.model.decode_head.semantic_prompts.text_encoder}},
            dataset='ShapesWorldDataset',
            ctx_init='a photo of a',
        ),
    )
)
