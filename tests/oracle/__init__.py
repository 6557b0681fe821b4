"""Tests against real PEFT; nothing here asks the network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
