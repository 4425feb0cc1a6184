# python tools/train.py configs/ablations/linear_seem-tiny_shapes.py
# A linear classifier on the frozen image embedding, without prompts and mask decoder.
_base_ = ['../ssprompt_seem-tiny_shapes.py']

model = dict(
    decode_head=dict(
        _delete_=True,
        type='LinearEmbeddingHead',
        in_channels=64,
        num_classes=10,
        dataset='ShapesWorldDataset',
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    )
)
