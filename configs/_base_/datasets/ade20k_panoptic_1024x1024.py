# ADE20K in mmseg's layout (data/ade/ADEChallengeData2016), its 150 classes as 100 things and 50
# stuff, in COCO's panoptic format as Mask2Former's prepare_ade20k_pan_seg.py makes it.
_base_ = ['../pipelines/segments_1024.py']

dataset_type = 'ADE20KPanopticDataset'
data_root = 'data/ade/ADEChallengeData2016'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ade20k_panoptic_train.json',
        data_prefix=dict(img_path='images/training', seg_map_path='ade20k_panoptic_train'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ade20k_panoptic_val.json',
        data_prefix=dict(img_path='images/validation', seg_map_path='ade20k_panoptic_val'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PanopticMetric')
test_evaluator = val_evaluator
