"""What a network looks at: filters, maps, Grad-CAM, occlusion, DeepDream."""
