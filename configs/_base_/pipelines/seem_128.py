# What takes the place of the pipelines of semantic_96.py: those of seem_800x1333.py at the size on
# which seem-tiny was pre-trained, without flips and distortion in training.
_base_ = ['./seem_800x1333.py']

seem_train_pipeline, seem_test_pipeline = _base_.seem_train_pipeline, _base_.seem_test_pipeline
seem_tta_pipeline = _base_.seem_tta_pipeline
seem_resize = _base_.seem_resize
for resize in (
    seem_resize,
    seem_train_pipeline[2],
    seem_test_pipeline[1],
    seem_tta_pipeline[1].transforms[0][0],
):
    resize.update(min_size=128, max_size=128)
del resize, seem_train_pipeline[3:5]
