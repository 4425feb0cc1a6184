# python tools/train.py configs/ablations/mask-output-all_sam-tiny_shapes.py
# SSPrompt with SAM's masks 1 to 3 as three masks per prompt.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(decode_head=dict(segmenter=dict(mask_output='all')))
