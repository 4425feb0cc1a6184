# python tools/train.py configs/ablations/mask-output-best_sam-tiny_shapes.py
# SSPrompt with that of SAM's masks 1 to 3 whose predicted IoU is the highest.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(decode_head=dict(segmenter=dict(mask_output='best')))
