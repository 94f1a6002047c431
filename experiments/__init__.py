"""Experiments: configurations, and the programs that run them."""

import os

# TensorFlow, which only feeds data, has nothing to say that a user needs.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
