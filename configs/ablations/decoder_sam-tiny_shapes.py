# python tools/train.py configs/ablations/decoder_sam-tiny_shapes.py
# The mask decoder trains; all prompts are handcrafted.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

fusion = dict(mode='default_only')
model = dict(
    decode_head=dict(
        segmenter=dict(trainable=True),
        spatial_prompts=dict(fusion=fusion),
        semantic_prompts=dict(fusion=fusion),
    )
)
