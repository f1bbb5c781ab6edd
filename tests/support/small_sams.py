"""Networks of SAM 2 and SAM 3 as they are published, but small and untrained, in folders of Hugging Face's layout."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FPN = 32
"""Channels of every embedding."""


def save_sam2(folder: Path, *, seed: int = 0) -> Path:
    """A SAM 2 of pictures of 128 pixels."""
    from transformers import Sam2Config, Sam2Model

    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "image_size": [128, 128],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "window_size_per_stage": [4, 4, 4, 4],
                "window_positional_embedding_background_size": [4, 4],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": FPN,
        },
        prompt_encoder_config=_prompts(128, 16),
        mask_decoder_config=_DECODER,
    )
    return _save(Sam2Model, config, folder, seed)


def save_sam3_tracker(folder: Path, *, seed: int = 0) -> Path:
    """The part of SAM 3 that is asked by points and boxes, alone."""
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    return _save(Sam3TrackerModel, Sam3TrackerConfig(**_tracker()), folder, seed)


def save_sam3(folder: Path, *, seed: int = 0) -> Path:
    """The part of SAM 3 that is asked by text, with its processor."""
    from transformers import Sam3Config, Sam3Model

    save_sam3_processor(folder)
    return _save(Sam3Model, Sam3Config(**_detector()), folder, seed)


def save_sam3_video(folder: Path, *, seed: int = 0) -> Path:
    """Both parts in one file of weights, as `facebook/sam3` is published."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    config = Sam3VideoConfig(detector_config=_detector(), tracker_config=_video_tracker())
    save_sam3_processor(folder)
    _save(Sam3VideoModel, config, folder, seed)
    # A detour: transformers 5.23 saves the tracker's names with their prefix doubled; the published file has it once.
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors = {name.replace("tracker_model.tracker_model.", "tracker_model."): t for name, t in tensors.items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def save_sam3_processor(folder: Path) -> None:
    """Image processor and tokenizer; its vocabulary is the alphabet."""
    from transformers import CLIPTokenizer, Sam3ImageProcessor, Sam3Processor

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocab = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={token: n for n, token in enumerate(vocab)}, merges=[], model_max_length=32)
    size = {"height": SIDE3, "width": SIDE3}
    Sam3Processor(Sam3ImageProcessor(size=size), tokenizer).save_pretrained(folder)


SIDE3 = 112
"""Pixels a side of the pictures that the small SAM 3 sees: 8 x 8 patches of 14."""

_DECODER = {"hidden_size": FPN, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


def _prompts(image: int, patch: int) -> dict[str, int]:
    return {"hidden_size": FPN, "image_size": image, "patch_size": patch}


def _vision3() -> dict[str, object]:
    return {
        "model_type": "sam3_vision_model",
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE3,
            "pretrain_image_size": 56,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
        "fpn_hidden_size": FPN,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    }


def _tracker() -> dict[str, object]:
    return {
        "vision_config": _vision3(), "prompt_encoder_config": _prompts(SIDE3, 14), "mask_decoder_config": _DECODER,
    }  # fmt: skip


def _video_tracker() -> dict[str, object]:
    return _tracker() | {
        "model_type": "sam3_tracker_video",
        "image_size": SIDE3,
        "memory_attention_hidden_size": FPN,
        "memory_encoder_hidden_size": FPN,
    }


def _detector() -> dict[str, object]:
    layers = {"hidden_size": FPN, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return {
        "model_type": "sam3",
        "vision_config": _vision3(),
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": 54,
            "hidden_size": 16,
            "intermediate_size": 32,
            "projection_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        "geometry_encoder_config": layers,
        "detr_encoder_config": layers,
        "detr_decoder_config": layers | {"num_queries": 12},
        "mask_decoder_config": {"hidden_size": FPN, "num_attention_heads": 2},
    }


def _save(kind: type, config: object, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = kind(config)
        # As they come, all weights are near 0 and all masks alike.
        for weights in network.parameters():
            if weights.ndim > 1:
                torch.nn.init.normal_(weights, std=1.5 / weights[0].numel() ** 0.5)
        for name, bias in network.named_parameters():
            if name.endswith("presence_head.layer3.bias"):
                torch.nn.init.constant_(bias, 3.0)  # SAM 3 takes what it is asked for to be there
        network.save_pretrained(folder)
    return folder
