"""Models of transformers with few weights, written to a folder as anybody's are."""

from pathlib import Path

import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "mat",
    "my",
    "card",
    "is",
    "lost",
    "please",
    "help",
]
PARTS = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}


def written(folder: Path, config: t.PretrainedConfig, seed: int = 0) -> Path:
    """Write a model of fresh weights."""
    torch.manual_seed(seed)
    t.AutoModel.from_config(config).save_pretrained(folder)
    return folder


def tokenizer(folder: Path) -> None:
    """Write a tokenizer that knows a few words."""
    known = {word: number for number, word in enumerate(["[UNK]", "[PAD]", *WORDS])}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = t.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")
    fast.save_pretrained(folder)


def bert(folder: Path) -> Path:
    """Write a model of texts, with dropout."""
    tokenizer(folder)
    config = t.BertConfig(vocab_size=20, intermediate_size=32, max_position_embeddings=32, **PARTS)
    return written(folder, config)


def roberta(folder: Path) -> Path:
    """Write a model of texts whose first place has the number after padding's."""
    tokenizer(folder)
    config = t.RobertaConfig(
        vocab_size=20, intermediate_size=32, max_position_embeddings=32, pad_token_id=1, **PARTS
    )
    return written(folder, config)


def masking_tokenizer(folder: Path) -> None:
    """Write a tokenizer of the same words that can hide them, with tokens around each text."""
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    known = {word: number for number, word in enumerate([*special, *WORDS])}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = {f"{word[1:-1].lower()}_token": word for word in special}
    t.PreTrainedTokenizerFast(tokenizer_object=made, **named).save_pretrained(folder)


def masking_bert(folder: Path) -> Path:
    """Write a model of texts, with dropout and a tokenizer that can hide tokens."""
    masking_tokenizer(folder)
    config = t.BertConfig(vocab_size=20, intermediate_size=32, max_position_embeddings=32, **PARTS)
    return written(folder, config)


def masking_modernbert(folder: Path) -> Path:
    """Write one whose part that predicts is called head."""
    masking_tokenizer(folder)
    ends = {"pad_token_id": 1, "cls_token_id": 2, "bos_token_id": 2}
    ends |= {"sep_token_id": 3, "eos_token_id": 3}
    config = t.ModernBertConfig(
        vocab_size=20, intermediate_size=32, max_position_embeddings=32, **ends, **PARTS
    )
    return written(folder, config)


def masking_distilbert(folder: Path) -> Path:
    """Write one of few layers, whose names are others."""
    masking_tokenizer(folder)
    config = t.DistilBertConfig(
        vocab_size=20, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=32
    )
    return written(folder, config)


def gpt2(folder: Path) -> Path:
    """Write a model of texts that looks back only."""
    tokenizer(folder)
    config = t.GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    return written(folder, config)


def vit(folder: Path) -> Path:
    """Write a model of images."""
    return written(folder, t.ViTConfig(image_size=16, patch_size=8, intermediate_size=32, **PARTS))


def resnet(folder: Path) -> Path:
    """Write a model of images with BatchNorm."""
    config = t.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    return written(folder, config)


def waves(folder: Path) -> Path:
    """Write a model of sounds."""
    config = t.Wav2Vec2Config(
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        **PARTS,
    )
    return written(folder, config)
