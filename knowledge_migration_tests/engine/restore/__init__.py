"""The ways back that use the verified backup."""
