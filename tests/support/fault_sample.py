"""The planted faults that ``make test`` plants; ``make test-all`` plants every one.

The sample is fixed: thirty of the catalogue, so that every group of faults is in it, every check
that finds a fault of the catalogue finds one of these, and both twins have their share. Where
several faults would do, the quicker one is taken.
"""

SAMPLE = {
    "model": (
        "wrong_eps_in_torch",
        "inverted_momentum_in_mindspore",
        "relu_for_silu_in_mindspore",
        "squeeze_from_expanded_channels_in_mindspore",
        "head_without_activation_in_mindspore",
        "net_swaps_channels_in_mindspore",
        "gradient_cut_at_the_gates_in_torch",
        "drop_path_left_out_in_mindspore",
        "depth_rounded_up",
    ),
    "resnet": (
        "sum_without_activation_in_torch",
        "projection_without_batch_norm_in_mindspore",
        "gradient_cut_at_the_shortcut_in_mindspore",
    ),
    "conversion": (
        "swapped_batch_norm_leaves",
        "loading_is_not_strict_in_torch",
        "statistics_not_loaded_in_torch",
    ),
    "data": (
        "shifted_crop",
        "not_divided_by_the_deviation_in_torch",
        "every_epoch_in_the_same_order",
        "validation_on_a_subset",
    ),
    "loss": ("smoothing_over_the_other_classes_in_mindspore", "loss_summed_in_torch"),
    "optimizer": ("squares_decay_too_slowly_in_torch", "everything_decays_in_mindspore"),
    "schedule": ("decay_from_the_first_step", "rates_a_step_late"),
    "average": ("statistics_not_averaged_in_mindspore", "average_lost_on_resuming_in_torch"),
    "resume": ("momentum_not_moved_in_mindspore",),
    "export": (
        "statistics_not_exported_in_mindspore",
        "answers_in_training_mode_in_mindspore",
    ),
}
