# Mapillary Vistas, labels of version 1.2, in mmseg's layout (data/mapillary), seen as SAM sees
# images: the longest side becomes 1024 pixels and the rest is padded by the data preprocessor.
_base_ = ['../pipelines/semantic_1024.py']

dataset_type = 'MapillaryDataset_v1'
data_root = 'data/mapillary'
# All classes of v1.2 but the last, "Unlabeled", which becomes 255.
classes = (
    'Bird',
    'Ground Animal',
    'Curb',
    'Fence',
    'Guard Rail',
    'Barrier',
    'Wall',
    'Bike Lane',
    'Crosswalk - Plain',
    'Curb Cut',
    'Parking',
    'Pedestrian Area',
    'Rail Track',
    'Road',
    'Service Lane',
    'Sidewalk',
    'Bridge',
    'Building',
    'Tunnel',
    'Person',
    'Bicyclist',
    'Motorcyclist',
    'Other Rider',
    'Lane Marking - Crosswalk',
    'Lane Marking - General',
    'Mountain',
    'Sand',
    'Sky',
    'Snow',
    'Terrain',
    'Vegetation',
    'Water',
    'Banner',
    'Bench',
    'Bike Rack',
    'Billboard',
    'Catch Basin',
    'CCTV Camera',
    'Fire Hydrant',
    'Junction Box',
    'Mailbox',
    'Manhole',
    'Phone Booth',
    'Pothole',
    'Street Light',
    'Pole',
    'Traffic Sign Frame',
    'Utility Pole',
    'Traffic Light',
    'Traffic Sign (Back)',
    'Traffic Sign (Front)',
    'Trash Can',
    'Bicycle',
    'Boat',
    'Bus',
    'Car',
    'Caravan',
    'Motorcycle',
    'On Rails',
    'Other Vehicle',
    'Trailer',
    'Truck',
    'Wheeled Slow',
    'Car Mount',
    'Ego Vehicle',
)
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='training/images', seg_map_path='training/v1.2/labels'),
        metainfo=dict(classes=classes),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='validation/images', seg_map_path='validation/v1.2/labels'),
        metainfo=dict(classes=classes),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
