# The pipelines of seem_segments_800x1333.py at SEEM's size for ADE20K.
_base_ = ['./seem_segments_800x1333.py']

seem_train_pipeline, seem_test_pipeline = _base_.seem_train_pipeline, _base_.seem_test_pipeline
seem_tta_pipeline = _base_.seem_tta_pipeline
for resize in (
    seem_train_pipeline[2],
    seem_test_pipeline[1],
    seem_tta_pipeline[1].transforms[0][0],
):
    resize.update(min_size=640, max_size=2560)
del resize
