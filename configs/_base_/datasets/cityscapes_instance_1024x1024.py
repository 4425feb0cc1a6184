# Cityscapes in mmseg's layout (data/cityscapes), the objects of its 8 things, from
# *_gtFine_instanceIds.png. Its own AP needs cityscapesscripts.
_base_ = ['./cityscapes_panoptic_1024x1024.py']

dataset_type = 'CityscapesInstanceDataset'
train_dataloader = dict(dataset=dict(type=dataset_type))
val_dataloader = dict(dataset=dict(type=dataset_type))
test_dataloader = val_dataloader
val_evaluator = dict(type='CityscapesInstanceMetric')
test_evaluator = val_evaluator
