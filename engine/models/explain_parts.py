"""The sentences of fields that only some families have: experts, compressed attention, state-space
layers, pictures, quantised weights. Names as in `explain_messages`."""

from __future__ import annotations

PARTS: dict[str, str] = {
    # Mixtures of experts.
    "experts": "Each block has {value} experts, of which {active} work on a token.",
    "num_experts_per_tok": "{value} experts work on each token.",
    "num_experts_per_tok_share": "{value} experts work on each token, {share} % of them all: so "
    "much of the experts' weights is computed with, while all of them take memory.",
    "n_shared_experts": "Experts that work on every token besides: {value}.",
    "n_shared_experts_zero": "No expert is shared by all tokens.",
    "moe_intermediate_size": "An expert widens the vector to {value} numbers.",
    "shared_expert_intermediate_size": "The expert that works on every token widens the vector to "
    "{value} numbers.",
    "intermediate_size_mlp": "Blocks without experts widen the vector to {value} numbers.",
    "shared_intermediate_size": "The feed-forward part that every token passes widens the vector "
    "to {value} numbers.",
    "decoder_sparse_step": "One block in {value} has experts; 1 means all of them.",
    "moe_layer_freq": "One block in {value} has experts; 1 means all of them.",
    "moe_layer_start_index": "Experts begin at block {value}.",
    "moe_layer_end_index": "Experts end with block {value}.",
    "moe_layers": "Blocks with experts: {value}.",
    "mlp_only_layers": "Blocks without experts: {value}.",
    "mlp_only_layers_zero": "No block is left without experts by name.",
    "first_k_dense_replace": "The first {value} blocks have one feed-forward part and no experts.",
    "first_k_dense_replace_zero": "Every block has experts, from the first on.",
    "norm_topk_prob_yes": "The chosen experts' weights are scaled to add up to one.",
    "norm_topk_prob_no": "The chosen experts' weights stay as the router gave them.",
    "n_group": "Experts stand in {value} groups; the router first chooses among the groups.",
    "topk_group": "A token may use experts of {value} groups.",
    "topk_method": "How the router chooses experts: {value}.",
    "scoring_func": "The router's scores pass the function {value}.",
    "routed_scaling_factor": "What the chosen experts give is multiplied by {value}.",
    "moe_norm_min": "{value} is the least that the chosen experts' weights are divided by.",
    "router_aux_loss_coef": "In training the router is asked to share tokens evenly, with weight "
    "{value} in the loss.",
    "router_aux_loss_coef_zero": "The router is not asked to share tokens evenly.",
    "router_jitter_noise": "In training the router's input is shaken by {value}.",
    "router_jitter_noise_zero": "The router's input is not shaken in training.",
    "seq_aux_yes": "The even sharing of tokens is asked for within each text.",
    "seq_aux_no": "The even sharing of tokens is asked for over a batch.",
    "ep_size": "Experts were spread over {value} devices in pre-training.",
    "num_nextn_predict_layers": "{value} extra layers guess tokens further ahead; transformers "
    "leaves them out.",
    "num_nextn_predict_layers_zero": "No extra layer guesses tokens further ahead.",
    "interleave_moe_layer_step": "One block in {value} has experts; 1 means all of them.",
    "enable_moe_block_yes": "Blocks have experts beside their feed-forward part.",
    "enable_moe_block_no": "Blocks have no experts.",
    "use_double_wide_mlp_yes": "Blocks that use earlier keys and values have a feed-forward part "
    "of twice the width.",
    "use_double_wide_mlp_no": "All feed-forward parts have the same width.",
    "activation_sparsity_pattern": "How much of each block's feed-forward part is kept still: "
    "{value}.",
    "altup": "A setting of the several copies of the text's vectors that blocks take turns with "
    "(AltUp): {value}.",
    "altup_yes": "The several copies of the text's vectors (AltUp) use this.",
    "altup_no": "The several copies of the text's vectors (AltUp) do without this.",
    "laurel_rank": "Beside each attention part runs a small learned path of rank {value}.",
    "swiglu_alpha": "The experts' gate is sharpened by {value}.",
    "swiglu_limit": "The experts' numbers are clipped at {value}.",
    # Compressed attention.
    "kv_lora_rank": "Keys and values are kept compressed to {value} numbers a token (latent "
    "attention), which makes the cache of a conversation small.",
    "q_lora_rank": "Queries pass a bottleneck of {value} numbers.",
    "qk_nope_head_dim": "{value} numbers of a head's query and key carry no position.",
    "qk_rope_head_dim": "{value} numbers of a head's query and key carry the position.",
    "qk_head_dim": "A head's query and key have {value} numbers together.",
    "v_head_dim": "A head's value has {value} numbers.",
    "attention_k_eq_v_yes": "Keys serve as values too in layers that see the whole text.",
    "attention_k_eq_v_no": "Keys and values are made separately.",
    "num_kv_shared_layers": "The last {value} blocks use the keys and values of earlier ones.",
    "num_kv_shared_layers_zero": "Every block makes its own keys and values.",
    "hidden_size_per_layer_input": "Every block gets {value} numbers of its own for each token.",
    "vocab_size_per_layer_input": "The embedding of the blocks' own inputs knows {value} tokens.",
    # Linear attention, convolutions and state-space layers.
    "linear_conv_kernel_dim": "Layers with linear attention first mix {value} neighbouring tokens.",
    "linear_key_head_dim": "A head of linear attention keeps keys of {value} numbers.",
    "linear_value_head_dim": "A head of linear attention keeps values of {value} numbers.",
    "linear_num_key_heads": "Linear attention has {value} heads of keys.",
    "linear_num_value_heads": "Linear attention has {value} heads of values.",
    "full_attention_interval": "One layer in {value} has full attention, the others a linear one.",
    "full_attn_idxs": "Layers with full attention: {value}.",
    "conv_L_cache": "Convolution layers mix {value} neighbouring tokens.",
    "conv_bias_yes": "Convolutions add a bias.",
    "conv_bias_no": "Convolutions have no bias.",
    "block_ffn": "How the feed-forward width is rounded: {value}.",
    "mamba": "A size of the state-space layers (Mamba): {value}.",
    "mamba_yes": "The state-space layers (Mamba) have this.",
    "mamba_no": "The state-space layers (Mamba) do without this.",
    "time_step_limit": "Steps of the state-space layers stay within {value}.",
    "multiplier": "A fixed factor at this place of each block: {value}.",
    "block_size": "Linear attention works through the text in blocks of {value} tokens.",
    # Pictures, video, sound.
    "mm_tokens_per_image": "A picture becomes {value} tokens.",
    "image_seq_length": "A picture becomes {value} tokens.",
    "soft_tokens": "A picture or a sound becomes {value} tokens.",
    "scale_factor": "{value} × {value} patches of a picture become one token.",
    "spatial_merge_size": "{value} × {value} patches of a picture become one token.",
    "projector_hidden_act": "The projector from pictures to text bends its numbers with {value}.",
    "projector_bias_yes": "The projector from pictures to text adds a bias.",
    "projector_bias_no": "The projector from pictures to text has no bias.",
    "vision_feature_layer": "Pictures are taken from layer {value} of the vision part; negative "
    "numbers count from its end.",
    "vision_feature_select_strategy": "Which of the vision part's tokens are used: {value}.",
    # Quantised weights.
    "quantization": "Its weights are already quantised with {value}.",
    "quantization_bits": "Its weights are already quantised with {kind} to {bits} bits: train "
    "adapters on them, the weights themselves can't be trained.",
    "quantization_group": "Its weights are already quantised with {kind} to {bits} bits, {group} "
    "weights sharing one scale: train adapters on them, the weights themselves can't be trained.",
}
