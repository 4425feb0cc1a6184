# python tools/train.py configs/ablations/linear_sam-tiny_shapes.py
# A linear classifier on the frozen image embedding, without prompts and mask decoder.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(
    decode_head=dict(
        _delete_=True,
        type='LinearEmbeddingHead',
        in_channels=96,
        num_classes=10,
        dataset='ShapesWorldDataset',
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    )
)
