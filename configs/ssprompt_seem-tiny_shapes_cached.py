# Embed the scenes once, then train without scenes and without the image encoder:
#     mmseg-ssprompt cache configs/ssprompt_seem-tiny_shapes_cached.py
#     python tools/train.py configs/ssprompt_seem-tiny_shapes_cached.py
_base_ = ['./ssprompt_seem-tiny_shapes.py', './_base_/cached.py']

cache_dir = 'data/embeddings/ssprompt_seem-tiny_shapes/'
embedded = dict(
    encoder=_base_.model.backbone, data_preprocessor=_base_.data_preprocessor, **_base_.embedded
)
held_out = dict(embedded, test_mode=True)
train_dataloader = dict(
    dataset=dict(embedded, cache_dir=cache_dir + 'train', dataset=_base_.train_dataloader.dataset)
)
val_dataloader = dict(
    dataset=dict(held_out, cache_dir=cache_dir + 'val', dataset=_base_.val_dataloader.dataset)
)
test_dataloader = dict(
    dataset=dict(held_out, cache_dir=cache_dir + 'test', dataset=_base_.test_dataloader.dataset)
)
model = dict(
    data_preprocessor=_base_.embedding_preprocessor,
    backbone=dict(_base_.precomputed, encoder=_base_.model.backbone),
)
