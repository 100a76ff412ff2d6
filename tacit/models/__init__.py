"""The shared pretrained model: build, freeze, choose what trains, pretrain, save."""
