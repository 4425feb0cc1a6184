# The pipelines and data loaders of semantic_1024.py at the size of sam-tiny.
_base_ = ['./semantic_1024.py']

image_size = (96, 96)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
for resize in (train_pipeline[2], test_pipeline[1], tta_pipeline[1].transforms[0][0]):
    resize.scale = image_size
del resize
train_dataloader = dict(num_workers=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
