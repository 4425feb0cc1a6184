# SEEM Focal-T on ACDC, 16 training images for each class, those of SAM's config:
#     python tools/train.py configs/ssprompt_seem_focal-t_acdc_16shot.py
# Seed 1; for another: --cfg-options train_dataloader.dataset.seed=2
#     train_dataloader.dataset.manifest=data/few_shot/acdc_16shot_seed2.json
_base_ = ['./ssprompt_seem_focal-t_acdc.py']

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FewShotDataset',
        dataset={{_base_.train_dataloader.dataset}},
        shots=16,
        seed=1,
        manifest='data/few_shot/acdc_16shot_seed1.json',
    )
)
