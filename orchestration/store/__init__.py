"""What lies on disk: written so that no reader sees half of it and no power cut takes it back."""
