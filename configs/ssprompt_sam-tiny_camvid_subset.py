# CamVid with sam-tiny on every sixth training and every fourth validation photograph: a minute on
# two cores.
#     python tools/train.py configs/ssprompt_sam-tiny_camvid_subset.py
_base_ = ['./ssprompt_sam-tiny_camvid.py']
train_dataloader = dict(
    dataset=dict(ann_file='{{ fileDirname }}/_base_/datasets/camvid_subset/train.txt')
)
val_dataloader = dict(
    dataset=dict(ann_file='{{ fileDirname }}/_base_/datasets/camvid_subset/val.txt')
)
test_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        ann_file='{{ fileDirname }}/_base_/datasets/camvid_subset/val.txt',
    )
)
