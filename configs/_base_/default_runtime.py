# mmseg's own bases are not inherited ('mmseg::_base_/...'): mmengine 0.10 looks them up with
# pkg_resources, which setuptools no longer has since version 81.
default_scope = 'mmseg'
custom_imports = dict(imports=['mmseg_ssprompt'], allow_failed_imports=False)
custom_hooks = []  # of one's own; those of the package are among the default_hooks of schedules
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegmentVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
tta_model = dict(type='PromptTTAModel')
