# SEEM's own queries and class names, with nothing trained:
#     python tools/test.py configs/ssprompt_seem-tiny_shapes-coast_zero-shot.py
_base_ = ['./ssprompt_seem-tiny_shapes-coast.py']

fusion = dict(mode='default_only')
model = dict(
    decode_head=dict(spatial_prompts=dict(fusion=fusion), semantic_prompts=dict(fusion=fusion))
)
