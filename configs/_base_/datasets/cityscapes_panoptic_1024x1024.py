# Cityscapes in mmseg's layout (data/cityscapes), its 19 classes as things and stuff, from
# *_gtFine_instanceIds.png, which come with the data set. To read what cityscapesscripts converts
# instead: ann_file='gtFine/cityscapes_panoptic_train.json', with seg_map_path the folder beside it.
_base_ = ['../pipelines/segments_1024.py']

dataset_type = 'CityscapesPanopticDataset'
data_root = 'data/cityscapes'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PanopticMetric')
test_evaluator = val_evaluator
