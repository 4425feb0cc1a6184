# sam-tiny on photographs in mmseg's folder layout, which trees.make_photograph_tree makes:
#     data/photographs/{img_dir,ann_dir}/{train,val}/*.png
# Ids 0 to 10 are CamVid's classes, 255 is ignored, and all others are errors.
_base_ = ['../../../configs/ssprompt_sam-tiny_camvid.py']
_settings = dict(
    _delete_=True,
    type='BaseSegDataset',
    data_root='data/photographs',
    metainfo=_base_.metainfo,
    img_suffix='.png',
)
train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=_base_.train_pipeline,
        **_settings,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        pipeline=_base_.test_pipeline,
        **_settings,
    )
)
test_dataloader = val_dataloader
