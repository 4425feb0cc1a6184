# The handcrafted prompts, as the frozen encoders embed them; nothing trains:
#     python tools/test.py configs/ssprompt_sam-tiny_shapes_panoptic_zero-shot.py
_base_ = ['./ssprompt_sam-tiny_shapes_panoptic.py']

fusion = dict(mode='default_only')
model = dict(
    decode_head=dict(spatial_prompts=dict(fusion=fusion), semantic_prompts=dict(fusion=fusion))
)
