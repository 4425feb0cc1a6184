# SEEM Focal-T on Mapillary Vistas, 16 training images for each class, those of SAM's config:
#     python tools/train.py configs/ssprompt_seem_focal-t_mapillary_16shot.py
# Seed 1; for another: --cfg-options train_dataloader.dataset.seed=2
#     train_dataloader.dataset.manifest=data/few_shot/mapillary_16shot_seed2.json
_base_ = ['./ssprompt_seem_focal-t_mapillary.py']

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FewShotDataset',
        dataset={{_base_.train_dataloader.dataset}},
        shots=16,
        seed=1,
        manifest='data/few_shot/mapillary_16shot_seed1.json',
    )
)
