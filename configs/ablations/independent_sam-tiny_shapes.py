# python tools/train.py configs/ablations/independent_sam-tiny_shapes.py
# SSPrompt, each prompt decoded in a pass of its own, as SAM was trained.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(decode_head=dict(segmenter=dict(decoding='independent')))
