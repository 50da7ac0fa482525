"""The sentences that explain a config's fields, by field: the common part of language models.

A field's name is its sentence's, `…_yes` and `…_no` are those of a switch, `…_zero` that of a
number that is 0. Places in braces are filled with this model's own values.
"""

from __future__ import annotations

from engine.models.explain_parts import PARTS

COMMON: dict[str, str] = {
    "architectures": "The class that runs it: {value}.",
    "parameters": "All its weights together, counted from the sizes below: {count}.",
    "hidden_size": "Each token is a vector of {value} numbers between the blocks; the width alone "
    "does not tell the size of the model.",
    "num_hidden_layers": "{value} blocks stand one after another; each has an attention part and "
    "a feed-forward part.",
    "intermediate_size": "Inside a block the feed-forward part widens the vector to {value} "
    "numbers, {factor} times the width.",
    "num_attention_heads": "Attention looks at the text in {value} ways at once, with heads of "
    "{head_dim} numbers.",
    "num_key_value_heads_own": "Every attention head has keys and values of its own ({value}).",
    "num_key_value_heads_one": "All {heads} attention heads share one set of keys and values "
    "(multi-query attention), which makes the cache of a conversation {group} times smaller.",
    "num_key_value_heads_group": "Each set of keys and values is shared by {group} attention "
    "heads (grouped-query attention), which makes the cache of a conversation {group} times "
    "smaller.",
    "num_attention_heads_latent": "Attention looks at the text in {value} ways at once; their keys "
    "and values are kept compressed together.",
    "num_key_value_heads_latent": "Keys and values are compressed for all heads together, so this "
    "number ({value}) decides nothing.",
    "head_dim_latent": "Of each head's numbers, {value} carry the position.",
    "head_dim": "One attention head works on {value} numbers; {heads} of them make {total}.",
    "max_position_embeddings": "It was made for texts of up to {value} tokens; longer ones need "
    "RoPE scaling.",
    "sliding_window": "Attention reaches back {value} tokens at most in the layers that use a "
    "window.",
    "sliding_window_off": "A window of {value} tokens is written down, but switched off: attention "
    "reaches over the whole text.",
    "sliding_window_none": "There is no attention window: every layer reaches over the whole text.",
    "use_sliding_window_yes": "Some layers use the attention window.",
    "use_sliding_window_no": "No layer uses the attention window.",
    "max_window_layers": "The first {value} blocks attend to the whole text; the window is for "
    "those above them.",
    "sliding_window_pattern": "One layer in {value} attends to the whole text, the others only "
    "through the window.",
    "layer_types": "The kinds of its layers: {value}.",
    "attention_chunk_size": "Layers with chunked attention see blocks of {value} tokens.",
    "vocab_size": "It knows {value} different tokens; the embedding holds {weights} weights.",
    "tie_yes": "The output layer shares its weights with the input embedding, which saves "
    "{weights} weights.",
    "tie_no": "Input embedding and output layer are separate, {weights} weights each.",
    "tie_part_yes": "The output layer shares its weights with the input embedding.",
    "tie_part_no": "Input embedding and output layer are separate.",
    "rope_theta": "Positions are encoded by rotations whose slowest period grows with the base "
    "{value}; larger bases suit longer contexts.",
    "rope_none": "Positions are used as they were in training; nothing stretches the context.",
    "rope_scaling": "Positions are stretched ({kind}) by {factor}, so that contexts longer than "
    "in training work.",
    "rope_llama3": "Positions are stretched ({kind}) by {factor}: slow rotations in full, fast "
    "ones not, from an original context of {original} tokens (frequency factors {low} and {high}).",
    "rope_yarn": "Positions are stretched ({kind}) by {factor} from an original context of "
    "{original} tokens: slow rotations in full, fast ones not, with a correction of attention's "
    "sharpness.",
    "rope_longrope": "Every rotation has a stretch of its own ({kind}), one set for texts within "
    "the original context and one for longer ones.",
    "rope_mrope": "A position has parts for time, height and width, which share a head's "
    "rotations in sections of {value}.",
    "rope_layers": "Layers of the kind {kind} have rotations of their own: {value}.",
    "partial_rotary_factor": "{share} % of each head's numbers carry the position.",
    "rope_interleave_yes": "Rotations pair neighbouring numbers of a head.",
    "rope_interleave_no": "Rotations pair the two halves of a head.",
    "rope_local_base_freq": "Layers with a window use the smaller rotation base {value}.",
    "original_max_position_embeddings": "Before its context was stretched, it was trained on "
    "{value} tokens.",
    "no_rope_layers": "Layers that carry no position (0 in the list) stand among those that do: "
    "{value}.",
    "no_rope_layer_interval": "One layer in {value} carries no position.",
    "position_embedding_type": "How positions enter: {value}.",
    "alibi_yes": "Positions enter as a penalty on distance (ALiBi) instead of rotations.",
    "alibi_no": "Positions enter by rotations, not by a penalty on distance (ALiBi).",
    "hidden_act": "The feed-forward part bends its numbers with the function {value}.",
    "norm_eps": "{value} is added inside each norm so that it never divides by zero.",
    "attention_bias_yes": "The attention projections add a bias.",
    "attention_bias_no": "The attention projections have no bias.",
    "attention_out_bias_yes": "Attention's output projection adds a bias.",
    "attention_out_bias_no": "Attention's output projection has no bias.",
    "qkv_bias_yes": "Queries, keys and values add a bias.",
    "qkv_bias_no": "Queries, keys and values have no bias.",
    "mlp_bias_yes": "The feed-forward projections add a bias.",
    "mlp_bias_no": "The feed-forward projections have no bias.",
    "use_bias_yes": "Its linear layers add a bias.",
    "use_bias_no": "Its linear layers have no bias.",
    "dropout": "While training, {share} % of the numbers there are dropped; it guards against "
    "learning by heart.",
    "dropout_zero": "Nothing is dropped there while training.",
    "attention_dropout": "While training, {share} % of the attention weights are dropped.",
    "attention_dropout_zero": "No attention weights are dropped while training.",
    "use_qk_norm_yes": "Queries and keys are normalised before they meet, which keeps attention "
    "steady.",
    "use_qk_norm_no": "Queries and keys meet as they are, without a norm of their own.",
    "query_pre_attn_scalar": "Attention scores are divided by the square root of {value}.",
    "attn_logit_softcapping": "Attention scores are bent so that they stay within ±{value}.",
    "attn_logit_softcapping_none": "Attention scores are not capped.",
    "final_logit_softcapping": "The scores of the next token are bent so that they stay within "
    "±{value}.",
    "final_logit_softcapping_none": "The scores of the next token are not capped.",
    "use_bidirectional_attention_yes": "Attention also looks ahead in the text, as for embeddings.",
    "use_bidirectional_attention_no": "Attention looks back only, as writing needs.",
    "attention_multiplier": "Attention scores are multiplied by {value} in place of the usual "
    "1/√(head size).",
    "embedding_multiplier": "Embeddings are multiplied by {value} before the first block.",
    "residual_multiplier": "What a block adds to its input is multiplied by {value}.",
    "logits_scaling": "The scores of the next token are divided by {value}.",
    "logit_scale": "The scores of the next token are multiplied by {value}.",
    "lm_head_bias_yes": "The output layer adds a bias.",
    "lm_head_bias_no": "The output layer has no bias.",
    "attn_scale": "How much attention is sharpened with the distance in long texts: {value}.",
    "floor_scale": "Attention is sharpened once more after every {value} tokens.",
    "new_decoder_architecture_yes": "Its blocks are built as in the family's larger models: keys "
    "and values shared by groups of heads, two norms.",
    "new_decoder_architecture_no": "Its blocks are built as in the family's first models.",
    "num_ln_in_parallel_attn": "{value} norms stand before the two parts that work side by side.",
    "scale_attn_weights_yes": "Attention scores are divided by the square root of the head size.",
    "scale_attn_weights_no": "Attention scores are not divided by the square root of the head "
    "size.",
    "scale_attn_by_inverse_layer_idx_yes": "Attention scores are divided by the block's number "
    "too.",
    "scale_attn_by_inverse_layer_idx_no": "Attention scores do not depend on the block's number.",
    "post_norm_residual_yes": "What is added to a block's output is taken after the norm.",
    "post_norm_residual_no": "What is added to a block's output is taken before the norm.",
    "parallel_attn_yes": "Attention and feed-forward part work side by side on the same input.",
    "parallel_attn_no": "The feed-forward part works on what attention gives.",
    "multi_query_yes": "All attention heads share one set of keys and values.",
    "multi_query_no": "Attention heads do not all share one set of keys and values.",
    "attn_temperature_tuning_yes": "Attention is sharpened with the distance in long texts.",
    "attn_temperature_tuning_no": "Attention is equally sharp at every length.",
    "initializer_range": "New weights were drawn with a spread of {value} before training.",
    "pretraining_tp": "Matrices were split into {value} parts in pre-training; 1 means not at all.",
    "bos_token_id": "Token {value} marks the beginning of a text.",
    "eos_one": "Token {value} ends an answer.",
    "eos_several": "Any of the {count} tokens {value} ends an answer.",
    "pad_token_id": "Token {value} fills short rows up to a batch's length; it is never trained.",
    "special_token": "Token {value} has this special part in a text.",
    "image_token": "Token {value} stands in the text where a picture, a video or a sound is, "
    "begins or ends.",
    "no_token": "No token has this part.",
    "dtype": "Its weights are stored as {value}, {bytes} bytes each.",
    "use_cache_yes": "While generating it keeps keys and values, so that each new token costs one "
    "step.",
    "use_cache_no": "While generating it keeps no keys and values; finetui switches that on.",
    "cache_implementation": "While generating it keeps keys and values in a cache of the kind "
    "{value}.",
    "model_type": "The family of architectures it belongs to: {value}.",
    "transformers_version": "It was saved by transformers {value}.",
    "saved_by": "The program that wrote it down: {value}.",
    "auto_map": "It brings its own Python code ({value}), which runs only where trust_remote_code "
    "allows it.",
    "text_config": "Its language model has a description of its own; the fields below are of it.",
    "vision_config": "Pictures pass a part of their own ({kind}), {layers} layers of width "
    "{width}.",
    "audio_config": "Sound passes a part of its own ({kind}).",
    "inner_config": "A part with its own description of {count} fields.",
    "unset": "It is not set: the architecture's own default holds.",
    "bookkeeping": "A note of the library's own; training does not depend on it.",
    "_name_or_path": "The name or folder that it was saved under: {value}.",
    "_name_or_path_zero": "No name was written down when it was saved.",
    "is_encoder_decoder_yes": "An encoder reads the text first, and a decoder writes the answer.",
    "is_encoder_decoder_no": "One stack of blocks both reads and writes; there is no encoder.",
    "add_cross_attention_yes": "Its blocks also attend to another model's output.",
    "add_cross_attention_no": "Its blocks attend to their own text only.",
    "chunk_size_feed_forward": "The feed-forward part takes {value} tokens at a time, which saves "
    "memory.",
    "chunk_size_feed_forward_zero": "The feed-forward part takes the whole text at once.",
    "return_dict_yes": "A call gives its results by name.",
    "return_dict_no": "A call gives its results as a plain row, without names.",
    "labels": "Names for the classes of a classifier ({count}); a language model uses none.",
    "generation": "A default for generating ({value}), from before such settings had a file of "
    "their own; finetui's own settings hold.",
    "output_yes": "The model also gives this back when it is called; it costs memory.",
    "output_no": "The model does not give this back when it is called.",
    "unexplained": "This field is not explained here.",
}

MESSAGES: dict[str, str] = {**COMMON, **PARTS}
