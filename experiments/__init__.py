"""Experiments: configurations, and the programs that run them."""

import os

# TensorFlow only feeds data here, so users need none of its log messages.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
