# python tools/train.py configs/ablations/projection_sam-tiny_shapes.py
# Only the classifier trains (projection, "no object", logit scale); all prompts are handcrafted.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

fusion = dict(mode='default_only')
model = dict(
    decode_head=dict(
        spatial_prompts=dict(fusion=fusion),
        semantic_prompts=dict(fusion=fusion),
        classifier=dict(trainable=True),
    )
)
