# AdamW with weight decay 0.05, as later work of SSPrompt's authors trains on few images; prompts
# and their weights do not decay, which would pull them to zero and to 0.5.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='PromptOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            'spatial_prompts': dict(decay_mult=0.0),
            'semantic_prompts': dict(decay_mult=0.0),
            'no_object_prompt': dict(decay_mult=0.0),
            # Scalars are not "flat".
            'logit_scale': dict(decay_mult=0.0),
            'weight_logit': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=500, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=500, end=40000, by_epoch=False),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=40000, val_interval=4000)
val_cfg = dict(type='PromptValLoop')
test_cfg = dict(type='PromptTestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='MainProcessLoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Beside these the best by mIoU of all validations; save_best=None keeps none.
    checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=4000, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PromptVisualizationHook'),
    # Here and not in custom_hooks, which a list in another config replaces as a whole.
    output_check=dict(type='OutputCheckHook'),
    run_lock=dict(type='RunLockHook'),
    dataset_check=dict(type='DatasetCheckHook'),
    run_record=dict(type='RunRecordHook'),
    finite_guard=dict(type='FiniteGuardHook'),
    trainable_report=dict(type='TrainableReportHook'),
    prompt_checkpoint=dict(type='PromptCheckpointHook'),
    preemption=dict(type='PreemptionHook'),
)
