"""Names that users of RecBole write and that are no settings of SASRecF: what to use in their place."""

from __future__ import annotations

from collections.abc import Mapping


def _all(names: str, instead: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), instead)


_DROPOUT = "hidden_dropout_prob and attn_dropout_prob"

# Arguments of RecBole's programs, what RecBole computes itself, and options of other programs.
# Source: recbole/quick_start/quick_start.py, run_recbole.py, run_hyper.py, recbole/config/configurator.py.
NOT_SETTINGS: Mapping[str, str] = {
    **_all("device gpu gpus cuda use_cuda multi_gpus n_gpu n_gpus num_gpus gpu_ids", "--gpus"),
    **_all("CUDA_VISIBLE_DEVICES cuda_visible_devices no_cuda", "--gpus"),
    **_all("nproc world_size ip port offset group_offset local_rank single_spec", "--workers"),
    **_all("num_workers workers num_processes", "--workers"),
    **_all("saved save_path save_dir output_dir log_dir output_file log_root", "--out"),
    **_all("model_file load_model_file resume resume_checkpoint", "sasrecf-tune resume"),
    **_all("config_files config_file_list config_dict", "--config-files"),
    **_all("params_file hyper_file", "--params-file"),
    **_all("max_evals", "--trials"),
    **_all("display_file", "sasrecf-tune report"),
    **_all("tool algo early_stop_trials", "--sampler"),
    **_all("tensorboard use_tensorboard tensorboard_dir log_tensorboard", "--log tensorboard"),
    **_all("wandb use_wandb wandb_name wandb_entity wandb_run_name", "--log wandb"),
    **_all("mlflow use_mlflow log_mlflow", "--log mlflow"),
    **_all("verbose MODEL_TYPE MODEL_INPUT_TYPE eval_type", ""),
    **_all("valid_neg_sample_args test_neg_sample_args", "eval_args"),
}

# Settings of RecBole's other models, of RecBole before 1.1, and of other programs: those that do the same.
OURS: Mapping[str, str] = {
    **_all("embedding_size emb_size emb_dim embedding_dim embed_dim item_embedding_size", "hidden_size"),
    **_all("user_embedding_size mf_embedding_size hidden_dim hidden_dims hidden_units", "hidden_size"),
    **_all("hidden_dimension latent_dimension latent_dim d_model", "hidden_size"),
    **_all("num_layers num_layer layers num_blocks n_blocks block_num num_hidden_layers", "n_layers"),
    **_all("num_heads num_head heads num_attention_heads attention_heads", "n_heads"),
    **_all("dropout_prob dropout_probs dropout dropout_rate drop_rate dropout_ratio", _DROPOUT),
    **_all("hidden_dropout hidden_dropout_rate", "hidden_dropout_prob"),
    **_all("attn_dropout attention_dropout attention_dropout_prob", "attn_dropout_prob"),
    **_all("mlp_hidden_size feed_forward_size ffn_size ff_dim d_ff intermediate_size", "inner_size"),
    **_all("activation act_func mlp_act_func ae_act_func hid_activation", "hidden_act"),
    **_all("initializer_std init_std", "initializer_range"),
    **_all("item_attribute item_features features feature_fields feature_field", "selected_features"),
    **_all("pooling_type pooling", "pooling_mode"),
    **_all("loss loss_function loss_fn", "loss_type"),
    **_all("lr base_lr", "learning_rate"),
    **_all("batch_size train_bs", "train_batch_size"),
    **_all("test_batch_size eval_bs", "eval_batch_size"),
    **_all("reg_weight reg_weights l2 l2_reg l2_weight reg_lambda wd l2_regularization", "weight_decay"),
    **_all("optimizer optim optimiser", "learner"),
    **_all("num_epochs n_epochs max_epochs num_train_epochs max_epoch", "epochs"),
    **_all("patience early_stop early_stopping early_stop_patience early_stopping_patience", "stopping_step"),
    **_all("early_stop_step early_stopping_step", "stopping_step"),
    **_all("random_seed manual_seed random_state", "seed"),
    **_all("grad_clip gradient_clip max_grad_norm clip_norm max_norm norm_type", "clip_grad_norm"),
    **_all("fp16 amp use_amp mixed_precision", "enable_amp"),
    **_all("max_len maxlen max_length max_seq_length max_seq_len", "MAX_ITEM_LIST_LENGTH"),
    **_all("history_len seq_length sequence_length max_sequence_length", "MAX_ITEM_LIST_LENGTH"),
    **_all("neg_sampling training_neg_sample_num training_neg_sample_distribution", "train_neg_sample_args"),
    **_all("num_negatives neg_sample_num n_negs sample_num candidate_num dynamic", "train_neg_sample_args"),
    **_all("eval_setting eval_settings split_ratio leave_one_num group_by_user", "eval_args"),
    **_all("real_time_process split group_by mode eval_mode split_strategy", "eval_args"),
    **_all("eval_neg_sample_num valid_neg_sample_num test_neg_sample_num", "eval_args"),
    **_all("min_user_inter_num max_user_inter_num", "user_inter_num_interval"),
    **_all("min_item_inter_num max_item_inter_num", "item_inter_num_interval"),
    **_all("lowest_val highest_val equal_val not_equal_val", "val_interval"),
    **_all("separator sep delimiter", "field_separator"),
    **_all("ks topk_list", "topk"),
    **_all("main_metric eval_metric val_metric", "--metric"),
}
