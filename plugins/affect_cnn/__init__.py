"""Bundled backend `cnn`: Nguyen's 2017 network, trained from scratch on FER2013."""
