# python tools/train.py configs/ablations/coop_seem-tiny_shapes.py
# CoOp: one context for all classes; the queries are handcrafted.
# Four context tokens from words, as on sam-tiny.
_base_ = ['../ssprompt_seem-tiny_shapes.py']

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
