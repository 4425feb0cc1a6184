# python tools/train.py configs/ablations/num-prompts_sam-tiny_shapes.py
# SSPrompt with another number of spatial prompts, N = 1, 4, 16, 25, 49, 100, 225 or 400:
#     --cfg-options model.decode_head.spatial_prompts.num_prompts=N
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(decode_head=dict(spatial_prompts=dict(num_prompts=100)))
