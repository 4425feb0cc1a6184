# python tools/train.py configs/ablations/coop_spatial_sam-tiny_shapes.py
# CoOp (one context for all classes) with SpaPrompt.
# Four context tokens from words: sam-tiny's text tower has seen no text as long as 16 and more.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(
    decode_head=dict(
        semantic_prompts=dict(
            _delete_=True,
            type='ContextPromptLearner',
            text_encoder={{_base_.model.decode_head.semantic_prompts.text_encoder}},
            dataset='ShapesWorldDataset',
            ctx_init='a photo of a',
        ),
    )
)
