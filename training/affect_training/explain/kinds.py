"""What `affect-train explain` can show; light, so that the command's help loads no network."""

WHAT = ("filters", "activations", "gradcam", "occlusion", "deepdream")
OF_FACES = ("activations", "gradcam", "occlusion")
"""What needs a face; filters need none, DeepDream starts from noise without."""
