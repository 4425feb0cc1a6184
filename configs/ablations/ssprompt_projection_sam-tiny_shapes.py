# python tools/train.py configs/ablations/ssprompt_projection_sam-tiny_shapes.py
# SSPrompt, and the classifier (projection, "no object", logit scale) trains too.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(decode_head=dict(classifier=dict(trainable=True)))
